// The pieces of a lab that need no kernel: names, addresses, the state file and its lock, preflight, progress.
import { mkdir, mkdtemp, readdir, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { temporaryOf } from '../host/files.ts';
import { identifyProcess } from '../host/process.ts';
import { Lab } from './lab.ts';
import { canonicalDirectory, makeLabDirectory, removeMadeDirectory } from './lab-directory.ts';
import {
  freeLabIndex,
  isNodeName,
  labAddresses,
  labNames,
  MAX_LABS,
  MAX_NODES,
  nodeAddress,
  nodeNetns,
} from './names.ts';
import { labFiles } from './pki.ts';
import { directoryFaults, missingTools, parseListeners, preflight, roomFaults } from './preflight.ts';
import { createProgress, silentProgress } from './progress.ts';
import { findLabState, findNode, type LabState, LabStateFile, lockLab, readLabState, writeLabState } from './state.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-lab-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

// ---- names ----

test('a node is called as a host can be called, and no path', () => {
  for (const good of ['node-1', 'a', '7', 'x'.repeat(63)]) expect(isNodeName(good), good).toBe(true);
  for (const bad of ['', '..', '../x', 'a/b', 'Node', 'a b', '-a', 'a-', 'x'.repeat(64), 'a\n']) {
    expect(isNodeName(bad), bad).toBe(false);
  }
});

test('labs in different directories share no name, the same directory gives the same ones', () => {
  const [a, b] = [labNames('/tmp/a'), labNames('/tmp/b')];
  expect(labNames('/tmp/x/../a')).toEqual(a);
  expect(a.id).toMatch(/^[0-9a-f]{6}$/);
  expect(new Set([a.switchNetns, b.switchNetns, a.hostLink, b.hostLink, a.cgroupRoot, b.cgroupRoot]).size).toBe(6);
  expect(Buffer.byteLength(a.hostLink)).toBeLessThanOrEqual(15);
  expect(nodeNetns(a.id, 'node-1')).toBe(`nodelet-${a.id}-node-1`);
});

test('addresses of all labs and nodes are valid and their own', () => {
  const networks = Array.from({ length: MAX_LABS }, (_, i) => labAddresses(i));
  expect(new Set(networks.map((n) => n.network)).size).toBe(MAX_LABS);
  expect(new Set(networks.map((n) => n.clusterCidr)).size).toBe(MAX_LABS);
  expect(networks[0]).toMatchObject({ network: '172.29.100.0/24', host: '172.29.100.1', clusterCidr: '10.244.0.0/16' });
  expect([nodeAddress(0, 1), nodeAddress(MAX_LABS - 1, MAX_NODES)]).toEqual(['172.29.100.10', '172.29.163.249']);
});

test('the lowest lab number without an address in use is free', () => {
  expect(freeLabIndex([])).toBe(0);
  expect(freeLabIndex(['172.29.100.1', '172.29.102.1', '10.0.0.1'])).toBe(1);
  expect(freeLabIndex(Array.from({ length: MAX_LABS }, (_, i) => labAddresses(i).host))).toBeUndefined();
});

// ---- state ----

const node = { name: 'n1', ordinal: 1, netns: 'x', ip: '172.29.100.10' };
const state: LabState = {
  version: 1,
  id: 'abc',
  index: 0,
  port: 6443,
  agentOptions: {},
  nodes: [node, { ...node, name: 'n2' }],
};

test('the state is read as written; none, a broken or a newer one is told apart', async () => {
  expect(await findLabState(dir)).toBeUndefined();
  await expect(readLabState(dir)).rejects.toMatchObject({ code: 'LAB_NOT_FOUND' });
  await writeLabState(dir, state);
  expect(await readLabState(dir)).toEqual(state);
  expect(findNode(state, 'n2').name).toBe('n2');
  expect(() => findNode(state, 'n3')).toThrow('the lab has no node n3');
  for (const text of ['{"version": 2}', '{"version":', '']) {
    await writeFile(path.join(dir, 'lab.json'), text);
    await expect(readLabState(dir)).rejects.toMatchObject({ code: 'LAB_STATE_INVALID' });
  }
  await rm(path.join(dir, 'lab.json'));
  await mkdir(path.join(dir, 'lab.json')); // or a file of root's, to others
  await expect(readLabState(dir)).rejects.toMatchObject({ code: 'EISDIR' });
});

test('changes made at the same time all count, and a failed one stops no other', async () => {
  await writeLabState(dir, state);
  const file = new LabStateFile(dir);
  const holder = { pid: 1, startTicks: 1 };
  const results = await Promise.allSettled([
    file.updateNode('n1', (n) => ({ ...n, holder })),
    file.update(() => {
      throw new Error('no');
    }),
    file.updateNode('n2', (n) => ({ ...n, agent: holder })),
  ]);
  expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect((await readLabState(dir)).nodes).toMatchObject([{ holder }, { agent: holder }]);
});

// ---- lock ----

test('a lock is waited for while its holder lives, and leaves no file', async () => {
  const clock = new FakeClock();
  await writeFile(path.join(dir, 'lab.lock'), JSON.stringify(await identifyProcess(process.ppid)));
  const stop = new AbortController();
  const waiting = lockLab(dir, clock, stop.signal);
  stop.abort(new Error('interrupted'));
  await expect(waiting).rejects.toThrow('interrupted');
  expect(await readdir(dir)).toEqual(['lab.lock']);
});

test('a directory that somebody removes at the same time, as it is empty, can be locked', async () => {
  const shared = path.join(dir, 'shared');
  for (let i = 0; i < 100; i++) {
    await mkdir(shared, { recursive: true });
    const locking = lockLab(shared, new FakeClock(), AbortSignal.timeout(20_000));
    await rmdir(shared).catch(() => {}); // not empty any more
    await using _lock = await locking;
    expect(await readdir(shared)).toEqual(['lab.lock']);
  }
});

// ---- preflight ----

test('a program that is missing is told with its package, nft only where the proxy mode needs it', async () => {
  const without =
    (...gone: string[]) =>
    (need: string) =>
      Promise.resolve(!gone.includes(need));
  expect(await missingTools('nftables', without('nft'))).toEqual(['nft not found (apt-get install nftables)']);
  expect(await missingTools('iptables', without('nft'))).toEqual([]);
  expect(await missingTools(undefined, without('nft', 'ip', 'bridge'))).toEqual([
    'ip and bridge not found (apt-get install iproute2)',
  ]);
});

test('a directory that the agent or a socket could not live in is refused by name', () => {
  expect(directoryFaults('/var/lib/nodelet-lab')).toEqual([]);
  expect(directoryFaults('/tmp/my lab')).toEqual([
    '"/tmp/my lab" has blanks or unusual characters in its name: choose another directory with --dir',
  ]);
  expect(directoryFaults('/tmp/übung')).toHaveLength(1);
  const longest = `/${'x'.repeat(107 - 1 - '/nodes/node-100/containerd.sock.ttrpc'.length)}`;
  expect(directoryFaults(longest)).toEqual([]);
  expect(directoryFaults(`${longest}y`)).toEqual([
    `the path ${longest}y is 1 bytes too long for the sockets in it: choose a shorter one with --dir`,
  ]);
});

test('a place below a file is refused before anything is made', async () => {
  const file = path.join(dir, 'file');
  await writeFile(file, '');
  const input = { port: 1, isLabAddress: () => true, proxyMode: undefined };
  const refusal = async (place: string) => await preflight({ ...input, dir: place }).catch((err: Error) => err.message);
  expect(await refusal(file)).toContain(`${file} is not a directory: choose another one with --dir`);
  expect(await refusal(path.join(file, 'a'))).toContain(`the directory ${file}/a cannot be used (ENOTDIR)`);
  expect(String(await refusal(path.join(dir, 'new', 'one')))).not.toContain(dir);
  expect(await readdir(dir)).toEqual(['file']);
});

test('listening sockets of /proc/net/tcp and tcp6, and no others', () => {
  const head = '  sl  local_address rem_address   st tx_queue rx_queue';
  const table = [
    head,
    '   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1',
    '   1: 01641DAC:192B 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2 1',
    '   2: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 3',
    'garbage',
    '',
  ].join('\n');
  expect(parseListeners(table)).toEqual([
    { ip: '127.0.0.1', port: 6443 },
    { ip: '00000000000000000000000000000000', port: 22 },
  ]);
  expect(parseListeners('')).toEqual([]);
});

// ---- progress ----

function capture(isTTY: boolean) {
  let text = '';
  const out = Object.assign(new PassThrough(), { isTTY });
  out.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const clock = new FakeClock();
  const ended = async (): Promise<string> => {
    out.end();
    await finished(out);
    return text;
  };
  return { progress: createProgress(out as unknown as NodeJS.WriteStream, clock), clock, ended };
}

test.each([false, true])(
  'a step says how long it took, or that it failed, and passes the error on (terminal: %s)',
  async (isTTY) => {
    const { progress, clock, ended } = capture(isTTY);
    const work = async (): Promise<number> => {
      await clock.advance(1_240);
      return 7;
    };
    expect(await progress.step('making', work)).toBe(7);
    const failing = progress.step('breaking', () => Promise.reject(new Error('no')));
    await expect(failing).rejects.toThrow('no');
    progress.note('done');
    const output = await ended();
    expect(output).toContain('✓ making (1.2 s)\n');
    expect(output).toContain('✗ breaking (0.0 s)\n');
    expect(output.endsWith('done\n')).toBe(true);
    expect(output.includes('\r')).toBe(isTTY); // no spinner in a log file
  },
);

test('on a terminal, steps that run at the same time share one line', async () => {
  const { progress, ended } = capture(true);
  const [one, two] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const steps = [progress.step('node-1', () => one.promise), progress.step('node-2', () => two.promise)];
  one.resolve();
  await steps[0];
  two.resolve();
  await steps[1];
  const lines = (await ended()).split('\r').map((line) => line.replace('\u001b[K', ''));
  expect(lines).toEqual(['', '⠋ node-1', '⠙ node-1, node-2', '✓ node-1 (0.0 s)\n', '⠹ node-2', '✓ node-2 (0.0 s)\n']);
});

// ---- directory ----

test('a directory that was made goes with its lab, and those above it that were made for it', async () => {
  const made = path.join(dir, 'a', 'b', 'lab');
  await makeLabDirectory(made);
  await makeLabDirectory(made); // up once more
  await writeFile(path.join(made, 'apiserver.log'), '');
  await removeMadeDirectory(made);
  expect(await readdir(made)).toContain('apiserver.log'); // somebody may want to read it
  await rm(path.join(made, 'apiserver.log'));
  await writeFile(path.join(dir, 'a', 'mine'), '');
  await removeMadeDirectory(made);
  expect(await readdir(path.join(dir, 'a'))).toEqual(['mine']);
  await removeMadeDirectory(made);
});

test('a directory that was there stays, with what is in it', async () => {
  await makeLabDirectory(dir);
  await removeMadeDirectory(dir);
  expect(await readdir(dir)).toEqual([]);
});

test('a lab is the same one through a symbolic link, before and after its directory is there', async () => {
  const link = path.join(dir, 'link');
  await symlink(dir, link);
  const [real, linked] = [path.join(canonicalDirectory(dir), 'a', 'b'), path.join(link, 'a', 'b')];
  expect(canonicalDirectory(linked)).toBe(real);
  await mkdir(real, { recursive: true });
  expect(canonicalDirectory(linked)).toBe(real);
  expect(canonicalDirectory(path.relative('.', linked))).toBe(real);
});

test('a full file system is told of before a lab ends in it without a word', () => {
  const room = { bavail: 16_384, bsize: 4096, files: 10, ffree: 1 };
  expect(roomFaults('/d', room)).toEqual([]);
  expect(roomFaults('/d', { ...room, files: 0, ffree: 0 })).toEqual([]); // btrfs
  const remedy = 'free some, or choose another directory with --dir';
  const few = `63 MiB are free on the file system of /d, a lab needs 64: ${remedy}`;
  expect(roomFaults('/d', { ...room, bavail: 16_383 })).toEqual([few]);
  expect(roomFaults('/d', { ...room, ffree: 0 })).toEqual([`no inodes are free on the file system of /d: ${remedy}`]);
});

test('what a command that was killed was writing goes with the lab', async () => {
  const made = path.join(dir, 'made');
  await makeLabDirectory(made);
  await writeFile(temporaryOf(path.join(made, 'lab.json')), '{"vers');
  for (const entry of labFiles(made).all) await rm(entry, { recursive: true, force: true });
  await removeMadeDirectory(made);
  expect(await readdir(dir)).toEqual([]);
});

test('no command but up makes the directory of a lab', async () => {
  const lab = new Lab(path.join(dir, 'none'), {
    exec: async () => expect.unreachable(),
    clock: new FakeClock(),
    progress: silentProgress,
    self: ['nodelet'],
  });
  const { signal } = new AbortController();
  const calls = [
    () => lab.addNode('x', signal),
    () => lab.startNode('x', signal),
    () => lab.stopNode('x', signal),
    () => lab.removeNode('x', async () => {}, signal),
    () => lab.startApiserver(signal),
    () => lab.stopApiserver(signal),
  ];
  for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'LAB_NOT_FOUND' });
  expect(await readdir(dir)).toEqual([]);
});

test('what needs the API server or a node is refused while that is off, and not waited for', async () => {
  const lab = new Lab(dir, {
    exec: async () => expect.unreachable(),
    clock: new FakeClock(),
    progress: silentProgress,
    self: ['nodelet'],
  });
  await writeLabState(dir, { ...state, nodes: [node] });
  const { signal } = new AbortController();
  const off = { code: 'LAB_APISERVER_OFF', hint: `nodelet lab apiserver start --dir ${dir}` };
  await expect(lab.addNode('x', signal)).rejects.toMatchObject(off);
  await expect(lab.startNode('n1', signal)).rejects.toMatchObject(off);
  await expect(lab.removeNode('n1', async () => {}, signal)).rejects.toMatchObject(off);
  await expect(lab.load('image.tar', undefined, signal)).rejects.toMatchObject({ code: 'LAB_NODE_OFF' });
  expect((await readLabState(dir)).nodes).toEqual([node]);
});

test('a lab is not made where no directory can be, and none is found in a file', async () => {
  expect(directoryFaults('/proc/lab')).toEqual(['/proc/lab cannot hold files: choose another directory with --dir']);
  expect(directoryFaults('/run/lab')).toEqual([
    'each node has a /run of its own and would not see /run/lab: choose another directory with --dir',
  ]);
  expect(directoryFaults('/runs')).toEqual([]);
  await writeFile(path.join(dir, 'file'), '');
  await expect(readLabState(path.join(dir, 'file'))).rejects.toMatchObject({ code: 'LAB_NOT_FOUND' });
});
