// Which sources of static pods are configured, and how their pods reach the agent.
import type { Pod } from '../../api/pod.ts';
import { podFullName } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { runTasks, type Task } from '../../core/tasks.ts';
import type { KubeletConfig } from '../config.ts';
import type { PodSources } from '../pod-source.ts';
import type { RuntimePod } from '../runtime/pod-runtime-status.ts';
import { nodeReference, podReference } from '../runtime/runtime-deps.ts';
import { DistinctPods, type StaticSource } from './distinct-pods.ts';
import { FileSource } from './file-source.ts';
import { RunningStaticPods } from './running-static-pods.ts';
import { decodeStaticPods, type PodRules } from './static-pod.ts';
import { UrlSource } from './url-source.ts';

export interface StaticPodSourcesDeps {
  readonly rules: PodRules;
  readonly sources: Pick<PodSources, 'snapshot'>;
  /** What the runtime has at the start. */
  readonly running: readonly RuntimePod[];
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
  const distinct = new DistinctPods();
  const publish = (source: StaticSource) => (pods: readonly Pod[]) => {
    const { kept, refused } = distinct.pick(source, pods);
    for (const { pod, why } of refused.filter((r) => !r.isKnown)) {
      log.error({ pod: podFullName(pod), source, reason: why }, 'static pod refused');
      events.event(podReference(pod), 'Warning', 'FailedValidation', why);
    }
    sources.snapshot(source, kept);
  };
  const onBroken = (err: unknown) =>
    events.event(nodeReference(nodeName), 'Warning', 'FailedValidation', `Error validating ${errorMessage(err)}`);
  const tasks: Record<string, Task> = { stop: (s) => aborted(s) };
  if (staticPods.path !== '') {
    const running = new RunningStaticPods(deps.running);
    const decode = (text: string, where: string, changedAtMs: number) => {
      const uidOf = (fullName: string, contentUid: string) => running.uidOf(fullName, contentUid, changedAtMs);
      return decodeStaticPods(text, { source: 'file', where, nodeName, uidOf }, rules)[0]!;
    };
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
