import { describe, expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { FakeEvents } from '../fake-managers.ts';
import { OomMessages } from './oom-messages.ts';
import { watchOom } from './oom-watcher.ts';

const INVOKED = 'python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0';
const summary = (cgroup: string) =>
  `oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=${cgroup},task=python3,pid=4711,uid=0`;
const KILLED =
  'Out of memory: Killed process 4711 (python3) total-vm:81920kB, anon-rss:65536kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:200kB oom_score_adj:0';

function killsIn(lines: readonly string[]) {
  const messages = new OomMessages();
  return lines.flatMap((line) => messages.take(line) ?? []);
}

describe('what the kernel logs about a kill', () => {
  test.each<[string, string[], object[]]>([
    [
      'a process of the node',
      [INVOKED, 'Mem-Info:', summary('/'), KILLED],
      [{ victimCgroup: '/', pid: 4711, process: 'python3' }],
    ],
    [
      'a container',
      [
        INVOKED,
        'oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/c,task=sh,pid=7,uid=0',
        'Memory cgroup out of memory: Killed process 7 (sh) total-vm:1kB',
      ],
      [{ victimCgroup: '/kubepods/pod1/c', pid: 7, process: 'sh' }],
    ],
    [
      'an old kernel',
      [INVOKED, 'Task in /a/b killed as a result of limit of /a', 'Killed process 12 (a (b) c) total-vm:1kB'],
      [{ victimCgroup: '/a/b', pid: 12, process: 'a (b) c' }],
    ],
    ['a kernel that names no group', [INVOKED, KILLED], [{ victimCgroup: '/', pid: 4711, process: 'python3' }]],
    ['a kill that nothing led to', [KILLED, summary('/'), KILLED], []],
    ['two', [INVOKED, summary('/x'), KILLED, INVOKED, KILLED], [{ victimCgroup: '/x' }, { victimCgroup: '/' }]],
    ['lines of a process that calls itself so', [INVOKED, 'eth0: Killed process 99999999999 (x)', 'Killed'], []],
  ])('%s', (_, lines, kills) => {
    expect(killsIn(lines)).toMatchObject(kills);
  });
});

async function* linesOf(lines: readonly string[]) {
  for (const text of lines) yield { atUs: 1, text };
}

async function eventsOf(records: () => AsyncIterable<{ atUs: number; text: string }>): Promise<FakeEvents> {
  const events = new FakeEvents();
  const stop = new AbortController();
  const deps = { node: { kind: 'Node', name: 'n1' }, records, events, log: silentLog };
  const ended = watchOom(deps, stop.signal);
  await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await ended;
  return events;
}

test('only processes of the node itself are told of', async () => {
  const { events } = await eventsOf(() =>
    linesOf([INVOKED, summary('/pods/1'), KILLED, INVOKED, summary('/'), KILLED]),
  );
  const message = 'System OOM encountered, victim process: python3, pid: 4711';
  expect(events).toEqual([{ type: 'Warning', reason: 'SystemOOM', message }]);
});

test('without the permission to read the log the node runs on', async () => {
  const refused = async function* () {
    yield* linesOf([INVOKED]);
    throw Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
  };
  expect((await eventsOf(refused)).events).toEqual([]);
});
