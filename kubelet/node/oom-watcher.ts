// Tells of processes of the node itself that the kernel killed for lack of memory. That a container's were is the
// runtime's to say. After pkg/kubelet/oom/oom_watcher_linux.go.
import type { ObjectReference } from '../../api/kinds.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { aborted } from '../../core/abort.ts';
import type { Logger } from '../../core/log.ts';
import type { KmsgRecord } from '../../host/kmsg.ts';
import { OomMessages } from './oom-messages.ts';

export interface OomWatcherDeps {
  readonly node: ObjectReference;
  /** What the kernel logs from now on. */
  readonly records: (signal: AbortSignal) => AsyncIterable<KmsgRecord>;
  readonly events: EventRecorder;
  readonly log: Logger;
}

/** Until `signal` aborts. Where the kernel's log may not be read this is said once, and nothing is watched. */
export async function watchOom(deps: OomWatcherDeps, signal: AbortSignal): Promise<void> {
  const log = deps.log.child({ component: 'oom' });
  const messages = new OomMessages();
  try {
    for await (const { text } of deps.records(signal)) {
      const kill = messages.take(text);
      if (kill === undefined) continue;
      log.info({ ...kill }, 'the kernel killed a process for lack of memory');
      if (kill.victimCgroup !== '/') continue;
      const message = `System OOM encountered, victim process: ${kill.process}, pid: ${kill.pid}`;
      deps.events.event(deps.node, 'Warning', 'SystemOOM', message);
    }
  } catch (err) {
    log.warn({ err }, "the kernel's log cannot be read: nobody is told when it kills processes of the node");
  }
  await aborted(signal);
}
