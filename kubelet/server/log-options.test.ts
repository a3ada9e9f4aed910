import { expect, test } from 'vitest';
import { bareContainerId, type ContainerStatus } from '../../api/pod.ts';
import { loggedContainerId, parseLogQuery, refuseStreams, requireContainer } from './log-options.ts';
import { streamOptions } from './logs.ts';

const parse = (query: string, split = false) => parseLogQuery(new URLSearchParams(query), split);

test('the query of kubectl logs', () => {
  expect(parse('follow=true&tailLines=0&timestamps=true&limitBytes=10&sinceSeconds=5')).toEqual({
    follow: true,
    previous: false,
    timestamps: true,
    tailLines: 0,
    limitBytes: 10,
    sinceSeconds: 5,
    stream: 'All',
  });
  expect(parse('sinceTime=2026-01-02T03:04:05.5%2B01:00').sinceTimeMs).toBe(Date.parse('2026-01-02T02:04:05.500Z'));
  expect(parse('follow=&previous=False&timestamps=0')).toMatchObject({
    follow: true,
    previous: false,
    timestamps: false,
  });
  expect(parse('tail=all&tailLines=3').tailLines).toBeUndefined();
  expect(parse('tail=7&tailLines=3').tailLines).toBe(7);
});

test.each([
  ['tailLines=x', 400],
  ['tailLines=1e3', 400],
  ['limitBytes=99999999999999999999', 400],
  ['sinceTime=yesterday', 400],
  ['sinceTime=2026', 400],
  ['tailLines=-1', 422],
  ['limitBytes=0', 422],
  ['sinceSeconds=0', 422],
  ['sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z', 422],
])('%s is refused with %i', (query, code) => {
  expect(() => parse(query)).toThrow(expect.objectContaining({ code }));
});

test('seconds count back from now', () => {
  expect(streamOptions(parse('sinceSeconds=5'), 100_000)).toEqual({
    follow: false,
    timestamps: false,
    sinceMs: 95_000,
  });
});

const ended = (containerID?: string) => ({ terminated: { exitCode: 1, ...(containerID ? { containerID } : {}) } });

function idOf(status: Partial<ContainerStatus> | undefined, previous = false): string {
  const full = { name: 'c', image: '', imageID: '', ready: false, restartCount: 0, ...status };
  const pod = {
    metadata: { name: 'p' },
    spec: { containers: [{ name: 'c' }] },
    status: { initContainerStatuses: status === undefined ? [] : [full] },
  };
  return bareContainerId(loggedContainerId(pod, 'c', previous));
}

test('the present run, else the last one that ended', () => {
  expect(idOf({ state: { running: {} }, containerID: 'containerd://now', lastState: ended('containerd://old') })).toBe(
    'now',
  );
  expect(idOf({ state: { running: {} }, containerID: 'x://now', lastState: ended('x://old') }, true)).toBe('old');
  expect(idOf({ state: ended('x://now') })).toBe('now');
  expect(idOf({ state: ended(), lastState: ended('x://old') })).toBe('old');
  expect(idOf({ state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: ended('x://old') })).toBe('old');
});

test.each([
  [undefined, false, 'container "c" in pod "p" is not available'],
  [{ state: { running: {} } }, true, 'previous terminated container "c" in pod "p" not found'],
  [{ state: ended() }, false, 'container "c" in pod "p" is terminated'],
  [
    { state: { waiting: { reason: 'ErrImagePull' } } },
    false,
    `container "c" in pod "p" is waiting to start: image can't be pulled`,
  ],
  [
    { state: { waiting: { reason: 'ImagePullBackOff' } } },
    false,
    'container "c" in pod "p" is waiting to start: trying and failing to pull image',
  ],
  [
    { state: { waiting: { reason: 'ContainerCreating' } } },
    false,
    'container "c" in pod "p" is waiting to start: ContainerCreating',
  ],
  [{}, false, 'container "c" in pod "p" is waiting to start - no logs yet'],
])('no log yet: %j', (status, previous, message) => {
  expect(() => idOf(status, previous)).toThrow(expect.objectContaining({ code: 400, message }));
});

test('a container that the pod does not have', () => {
  const pod = { metadata: { name: 'p' }, spec: { containers: [{ name: 'c' }] } };
  const message = 'container "x" not found in pod "p"';
  expect(() => requireContainer(pod, 'x')).toThrow(expect.objectContaining({ code: 404, message }));
});

test.each([
  ['stream=Stdout', 'Stdout'],
  ['stream=Stderr&follow=true', 'Stderr'],
  ['stream=All&tailLines=3', 'All'],
  ['stream=&tailLines=3', 'All'],
])('with the gate on, %s reads %s', (query, stream) => {
  expect(parse(query, true).stream).toBe(stream);
});

test.each(['stream=stdout', 'stream=Both', 'stream=Stdout&tailLines=3'])('with the gate on, %s is refused', (query) => {
  expect(() => parse(query, true)).toThrow(expect.objectContaining({ code: 422 }));
});

test('one output alone is asked of a node without the gate: its name is told', () => {
  expect(() => refuseStreams(parse('stream=Stdout'), false)).toThrow(
    'unable to return the given log stream: "Stdout". Please enable PodLogsQuerySplitStreams feature gate in kubelet',
  );
  expect(() => refuseStreams(parse('stream=All'), false)).not.toThrow();
  expect(() => refuseStreams(parse('stream=Stderr', true), true)).not.toThrow();
});
