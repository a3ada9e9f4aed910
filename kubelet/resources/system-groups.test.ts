import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { CgroupMembers } from '../../host/cgroup-members.ts';
import { SystemGroups, type SystemGroupsOptions } from './system-groups.ts';

const AGENT = 7;
const KERNEL = 2;

/** Processes and their groups. */
class FakeMembers implements CgroupMembers {
  readonly groups = new Map<number, string>();
  readonly refused = new Set<number>();
  /** Told of each move, after it. */
  onMove: (pid: number) => void = () => {};
  looks = 0;

  async groupOf(pid: number): Promise<string | undefined> {
    return this.groups.get(pid);
  }

  async processesIn(name: string): Promise<number[]> {
    this.looks++;
    return [...this.groups].filter(([, group]) => group === name).map(([pid]) => pid);
  }

  async join(name: string, pid: number): Promise<void> {
    if (this.refused.has(pid)) throw new Error('refused');
    this.groups.set(pid, name);
    this.onMove(pid);
  }
}

describe('processes of the system', () => {
  let clock: FakeClock;
  let members: FakeMembers;
  let scores: number;
  let isHost: boolean;
  beforeEach(() => {
    clock = new FakeClock();
    members = new FakeMembers();
    scores = 0;
    isHost = true;
  });

  function start(opts: Partial<SystemGroupsOptions>): AsyncDisposable {
    const stop = new AbortController();
    const groups = new SystemGroups(
      { kubeletCgroup: '', systemCgroup: '', pid: AGENT, ...opts },
      {
        members,
        seesHostProcesses: async () => isHost,
        isKernelThread: async (pid) => pid === KERNEL,
        setOomScore: async () => {
          scores++;
        },
        clock,
        log: silentLog,
      },
    );
    const ended = groups.run(stop.signal);
    return {
      async [Symbol.asyncDispose]() {
        stop.abort();
        await ended;
        expect(clock.sleeping).toBe(0);
      },
    };
  }

  test('the agent is moved into its group at once, and again when it is elsewhere', async () => {
    members.groups.set(AGENT, '/system.slice/nodelet.service');
    await using _ = start({ kubeletCgroup: '/kubelet.slice' });
    await clock.advance(0);
    expect(members.groups.get(AGENT)).toBe('/kubelet.slice');
    expect(scores).toBe(1);
    let moves = 0;
    members.onMove = () => void moves++;
    await clock.advance(60_000);
    expect(moves).toBe(0);
    members.groups.set(AGENT, '/');
    await clock.advance(60_000);
    expect(members.groups.get(AGENT)).toBe('/kubelet.slice');
  });

  test('an agent in a container is left where it is', async () => {
    isHost = false;
    members.groups.set(AGENT, '/docker/1');
    await using _ = start({ kubeletCgroup: '/kubelet.slice' });
    await clock.advance(0);
    expect(members.groups.get(AGENT)).toBe('/docker/1');
    expect(scores).toBe(0);
  });

  test('whoever is in no group is moved, but neither init nor threads of the kernel, nor who has a group', async () => {
    for (const pid of [1, KERNEL, 10, 11]) members.groups.set(pid, '/');
    members.groups.set(12, '/user.slice');
    await using _ = start({ systemCgroup: '/system' });
    await clock.advance(0);
    expect([...members.groups]).toEqual([
      [1, '/'],
      [KERNEL, '/'],
      [10, '/system'],
      [11, '/system'],
      [12, '/user.slice'],
    ]);
    members.groups.set(13, '/');
    await clock.advance(60_000);
    expect(members.groups.get(13)).toBe('/system');
  });

  test('so is what they start meanwhile', async () => {
    members.groups.set(10, '/');
    members.onMove = (pid) => pid < 13 && void members.groups.set(pid + 1, '/');
    await using _ = start({ systemCgroup: '/system' });
    await clock.advance(0);
    expect([...members.groups.values()]).toEqual(['/system', '/system', '/system', '/system']);
  });

  test('one that cannot be moved does not keep the others, and is tried a bounded number of times', async () => {
    for (const pid of [10, 11]) members.groups.set(pid, '/');
    members.refused.add(10);
    await using _ = start({ systemCgroup: '/system' });
    await clock.advance(0);
    expect(members.groups.get(11)).toBe('/system');
    expect(members.looks).toBe(11);
    members.refused.clear();
    await clock.advance(60_000);
    expect(members.groups.get(10)).toBe('/system');
  });

  test('an agent among the processes of the host ends in its own group', async () => {
    members.groups.set(AGENT, '/');
    await using _ = start({ kubeletCgroup: '/kubelet', systemCgroup: '/system' });
    await clock.advance(0);
    expect(members.groups.get(AGENT)).toBe('/kubelet');
  });

  test('without either the score alone is looked at, every five minutes', async () => {
    members.groups.set(AGENT, '/');
    await using _ = start({});
    await clock.advance(0);
    expect(scores).toBe(0); // it was set at the start
    await clock.advance(300_000);
    expect(scores).toBe(1);
    await clock.advance(300_000);
    expect(scores).toBe(2);
    expect(members.groups.get(AGENT)).toBe('/');
  });
});
