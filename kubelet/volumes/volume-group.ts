// Gives a volume that outlives its pods to the pod's fsGroup. It may hold many files, so users are told while it lasts.
// After pkg/volume/volume_linux.go.
import type { Pod } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { podReference } from '../runtime/runtime-deps.ts';
import { applyFsGroup, matchesFsGroup } from './ownership.ts';

export interface VolumeGroupDeps {
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
}

const FIRST_WORD_MS = 30_000;
const NEXT_WORD_MS = 60_000;
const HELP =
  'https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods';

/** Does nothing without fsGroup, or where fsGroupChangePolicy lets the volume be as it is. Idempotent. */
export async function giveVolumeToPodGroup(
  pod: Pod,
  dir: string,
  readOnly: boolean,
  deps: VolumeGroupDeps,
): Promise<void> {
  const { fsGroup, fsGroupChangePolicy } = pod.spec?.securityContext ?? {};
  if (fsGroup === undefined) return;
  if (fsGroupChangePolicy === 'OnRootMismatch' && (await matchesFsGroup(dir, fsGroup, readOnly))) return;
  await tellingProgress(pod, dir, deps, (onFile) => applyFsGroup(dir, fsGroup, readOnly, deps.log, onFile));
}

/** Runs `work`, which says of each file that it is done, and sends Events from when it has taken long. */
export async function tellingProgress(
  pod: Pod,
  dir: string,
  { events, clock }: Pick<VolumeGroupDeps, 'events' | 'clock'>,
  work: (onFile: () => void) => Promise<void>,
): Promise<void> {
  const uid = pod.metadata?.uid ?? '';
  const shown = dir.slice(Math.max(0, dir.indexOf(uid)));
  let files = 0;
  let timer: Disposable;
  const tell = (text: string) => {
    events.event(
      podReference(pod),
      'Warning',
      'VolumePermissionChangeInProgress',
      `Setting volume ownership for ${shown}${text}`,
    );
    timer = clock.setTimer(NEXT_WORD_MS, () => tell(`, processed ${files} files.`));
  };
  const first = ` is taking longer than expected, consider using OnRootMismatch - ${HELP}`;
  timer = clock.setTimer(FIRST_WORD_MS, () => tell(first));
  try {
    await work(() => {
      files += 1;
    });
  } finally {
    timer[Symbol.dispose]();
  }
}
