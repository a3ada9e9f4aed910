// containerd's own event stream, for containerd 1.x, whose CRI has none: what happened to which task, as it happens.
import { linkedSignal } from '../core/abort.ts';
import { AsyncQueue } from '../core/async-queue.ts';
import type { Clock } from '../core/clock.ts';
import { decodeMessage } from './codec.ts';
import { isCriError } from './errors.ts';
import type * as msg from './gen/messages.ts';
import { methodOf, type RpcChannel } from './rpc.ts';
import type { RuntimeEvent } from './runtime-service.ts';

const SUBSCRIBE = methodOf('containerd.services.events.v1.Events', 'Subscribe', 'SubscribeRequest', 'Envelope');
const PUBLISH = methodOf('containerd.services.events.v1.Events', 'Publish', 'PublishRequest', 'Empty');
/** Where the CRI plugin keeps its containers; other namespaces (Docker's is `moby`) are not ours. */
const NAMESPACE = 'k8s.io';
const TOPICS = [
  '/tasks/start',
  '/tasks/exit',
  '/tasks/delete',
  '/tasks/oom',
  '/containers/create',
  '/containers/delete',
];

const IMAGE_TOPICS = ['/images/create', '/images/update', '/images/delete'];

/** A topic of our own: an event that we publish ourselves and see come back proves that the subscription works. */
const PROOF_TOPIC = '/nodelet/subscribed';
const PROOF_RETRY_MS = 50;
const PUBLISH_TIMEOUT_MS = 5_000;

/**
 * CRI shows an end some ms after its task was deleted. That this happened is told by the task's shim, which may end
 * before it has (containerd 2); the exit itself is told for certain, since CRI needs it as well. Then it is this long
 * after the exit that CRI is asked, ms.
 */
const DELETE_WAIT_MS = 100;

/** What a slow consumer may have waiting; a relist is cheaper than more. */
const MAX_QUEUED = 10_000;

export interface ContainerdEventsDeps {
  readonly channel: RpcChannel;
  readonly clock: Clock;
  /**
   * Resolves once CRI itself shows that the container (or sandbox) has ended. Its plugin hears of exits on this very
   * stream, so right after an event it still says "running" for some milliseconds.
   */
  readonly confirmEnded: (id: string, signal: AbortSignal) => Promise<void>;
}

/**
 * Every event as soon as CRI's own answers show it. `onConnected` is called once events are known to reach us:
 * containerd answers a subscription with nothing at all until there is an event, so one is made.
 * @throws {CriError} UNIMPLEMENTED when this is not containerd.
 */
export async function* containerdEvents(
  deps: ContainerdEventsDeps,
  signal: AbortSignal,
  onConnected: () => void,
): AsyncIterable<RuntimeEvent> {
  using stop = linkedSignal(signal);
  const queue = new AsyncQueue<RuntimeEvent>(MAX_QUEUED);
  /** Ends that CRI does not show yet; `wait`: for the task to be deleted. */
  const ending = new Map<string, { readonly event: RuntimeEvent; readonly wait?: Disposable }>();
  /** Whose end was told before the task was deleted. */
  const told = new Set<string>();
  const tellEnd = (id: string): void => {
    const end = ending.get(id);
    if (end === undefined) return;
    ending.delete(id);
    end.wait?.[Symbol.dispose]();
    if (end.wait !== undefined) told.add(id);
    queue.push(end.event);
  };
  const confirm = (id: string): void => {
    void deps.confirmEnded(id, stop.signal).then(() => tellEnd(id)); // never rejects
  };
  // It may have ended before we listened, and been listed before CRI saw it: then nobody else tells.
  const handleDeletion = ({ containerId: id, exitCode }: TaskDeleted): void => {
    if (told.delete(id)) return;
    ending.get(id)?.wait?.[Symbol.dispose]();
    ending.set(id, { event: { type: 'stopped', containerId: id, exitCode } });
    confirm(id);
  };
  const reading = readEvents(deps, stop.signal, onConnected, (event) => {
    const id = event.containerId;
    if (event.type === 'task-deleted') {
      handleDeletion(event);
      return;
    }
    // What comes next of the same container must not overtake its end. That memory ran out may: it explains the end.
    if (event.type !== 'oom') tellEnd(id);
    if (event.type === 'deleted') told.delete(id);
    if (event.type !== 'stopped') {
      queue.push(event);
      return;
    }
    ending.set(id, { event, wait: deps.clock.setTimer(DELETE_WAIT_MS, () => confirm(id)) });
  }).then(
    () => queue.close(),
    (err: unknown) => queue.close(err),
  );
  try {
    yield* queue;
  } finally {
    stop.abort();
    await reading;
    for (const { wait } of ending.values()) wait?.[Symbol.dispose]();
  }
}

/** One for each image that was added, changed or removed. @throws {CriError} UNIMPLEMENTED when this is not containerd. */
export async function* containerdImageChanges(channel: RpcChannel, signal: AbortSignal): AsyncIterable<void> {
  const filters = IMAGE_TOPICS.map((topic) => `namespace==${NAMESPACE},topic=="${topic}"`);
  for await (const _envelope of channel.stream<msg.Envelope>(SUBSCRIBE, { filters }, signal)) yield;
}

async function readEvents(
  { channel, clock }: ContainerdEventsDeps,
  signal: AbortSignal,
  onConnected: () => void,
  onEvent: (event: RuntimeEvent | TaskDeleted) => void,
): Promise<void> {
  const filters = [...TOPICS, PROOF_TOPIC].map((topic) => `namespace==${NAMESPACE},topic=="${topic}"`);
  using proving = linkedSignal(signal);
  void publishProof(channel, clock, proving.signal); // catches everything itself: the stream tells what is wrong
  try {
    for await (const envelope of channel.stream<msg.Envelope>(SUBSCRIBE, { filters }, signal)) {
      if (envelope.namespace !== NAMESPACE) continue;
      if (envelope.topic === PROOF_TOPIC) {
        if (!proving.signal.aborted) onConnected();
        proving.abort();
        continue;
      }
      const event = toRuntimeEvent(envelope);
      if (event !== undefined) onEvent(event);
    }
  } finally {
    proving.abort();
  }
}

/** Until it has come back: the first one may be handled before the subscription is. */
async function publishProof(channel: RpcChannel, clock: Clock, signal: AbortSignal): Promise<void> {
  const event = { typeUrl: 'containerd.events.TaskOOM', value: new Uint8Array(0) };
  while (!signal.aborted) {
    try {
      const headers = { 'containerd-namespace': NAMESPACE };
      await channel.call(PUBLISH, { topic: PROOF_TOPIC, event }, PUBLISH_TIMEOUT_MS, signal, headers);
    } catch (err) {
      if (isCriError(err, 'UNIMPLEMENTED')) return;
    }
    await clock.sleep(PROOF_RETRY_MS, signal);
  }
}

/** What is left of an ended task has been removed: CRI shows the end in a moment. */
interface TaskDeleted {
  readonly type: 'task-deleted';
  readonly containerId: string;
  readonly exitCode: number;
}

/** Undefined for what is not about a container: the end of an exec session has a task id of its own. */
function toRuntimeEvent({ topic, event }: msg.Envelope): RuntimeEvent | TaskDeleted | undefined {
  const bytes = event?.value ?? new Uint8Array(0);
  switch (topic) {
    case '/tasks/start':
      return { type: 'started', containerId: decodeMessage<msg.TaskStart>('TaskStart', bytes).containerId };
    case '/tasks/exit': {
      const { id, containerId, exitStatus } = decodeMessage<msg.TaskExit>('TaskExit', bytes);
      return id === '' || id === containerId ? { type: 'stopped', containerId, exitCode: exitStatus } : undefined;
    }
    case '/tasks/delete': {
      const { id, containerId, exitStatus } = decodeMessage<msg.TaskDelete>('TaskDelete', bytes);
      return id === '' || id === containerId ? { type: 'task-deleted', containerId, exitCode: exitStatus } : undefined;
    }
    case '/tasks/oom':
      return { type: 'oom', containerId: decodeMessage<msg.TaskOOM>('TaskOOM', bytes).containerId };
    case '/containers/create':
      return { type: 'created', containerId: decodeMessage<msg.ContainerCreate>('ContainerCreate', bytes).id };
    case '/containers/delete':
      return { type: 'deleted', containerId: decodeMessage<msg.ContainerDelete>('ContainerDelete', bytes).id };
    default:
      return undefined;
  }
}
