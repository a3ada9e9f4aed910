// Which sources of static pods are configured, and how their pods reach the agent.
import type { Pod } from '../../api/pod.ts';
import { podDescription, podFullName } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { runTasks, type Task } from '../../core/tasks.ts';
import type { KubeletConfig } from '../config.ts';
import type { PodSources } from '../pod-source.ts';
import { nodeReference, podReference } from '../runtime/runtime-deps.ts';
import { FileSource } from './file-source.ts';
import { decodeStaticPods, type PodRules } from './static-pod.ts';
import { UrlSource } from './url-source.ts';

export interface StaticPodSourcesDeps {
  readonly rules: PodRules;
  readonly sources: Pick<PodSources, 'snapshot'>;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
}

type Settings = Pick<KubeletConfig, 'nodeName' | 'staticPods'>;

/** Runs what is configured until `signal` aborts. */
export async function runStaticPodSources(
  { nodeName, staticPods }: Settings,
  deps: StaticPodSourcesDeps,
  signal: AbortSignal,
): Promise<void> {
  const { rules, sources, events, clock, log } = deps;
  const publish = (source: 'file' | 'http') => (pods: readonly Pod[]) =>
    sources.snapshot(source, withoutDuplicates(pods, source, deps));
  const onBroken = (err: unknown) =>
    events.event(nodeReference(nodeName), 'Warning', 'FailedValidation', `Error validating ${errorMessage(err)}`);
  const tasks: Record<string, Task> = { stop: (s) => aborted(s) };
  if (staticPods.path !== '') {
    const decode = (text: string, where: string) =>
      decodeStaticPods(text, { source: 'file', where, nodeName }, rules)[0]!;
    const opts = { path: staticPods.path, checkFrequencyMs: staticPods.fileCheckFrequencyMs };
    const file = new FileSource(opts, { decode, onBroken, publish: publish('file'), clock, log });
    tasks['static pod files'] = (s) => file.run(s);
  }
  if (staticPods.url !== '') {
    const { url, urlHeaders: headers, urlCheckFrequencyMs: checkFrequencyMs } = staticPods;
    const decode = (text: string, where: string) => decodeStaticPods(text, { source: 'http', where, nodeName }, rules);
    const http = new UrlSource(
      { url, headers, checkFrequencyMs },
      { decode, onBroken, publish: publish('http'), clock, log },
    );
    tasks['static pod URL'] = (s) => http.run(s);
  }
  await runTasks(signal, tasks);
}

/** Of several pods with one name the first one counts; the others are told so. */
function withoutDuplicates(pods: readonly Pod[], source: string, { events, log }: StaticPodSourcesDeps): Pod[] {
  const byName = new Map<string, Pod>();
  for (const pod of pods) {
    const name = podFullName(pod);
    if (!byName.has(name)) {
      byName.set(name, pod);
      continue;
    }
    const what = `Error validating pod ${podDescription(pod)} from ${source} due to duplicate pod name "${pod.metadata?.name}", ignoring`;
    log.error({ pod: name, source }, what);
    events.event(podReference(pod), 'Warning', 'FailedValidation', what);
  }
  return [...byName.values()];
}
