import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ClaimCache } from './claim-cache.ts';
import { type ClaimRecord, parseClaims, renderClaims } from './claim-checkpoint.ts';

const record: ClaimRecord = {
  uid: 'claim-uid',
  name: 'gpu',
  namespace: 'ns',
  podUids: new Set(['pod-b', 'pod-a']),
  drivers: new Map([
    [
      'a.example.com',
      [
        {
          poolName: 'pool',
          deviceName: 'dev-1',
          shareId: 'share',
          requestNames: ['r1'],
          cdiDeviceIds: ['a.example.com/gpu=1'],
        },
        { poolName: 'pool', deviceName: 'dev-2', requestNames: [], cdiDeviceIds: [] },
      ],
    ],
    ['b.example.com', []],
  ]),
};

test('the file is as the kubelet writes it: JSON in JSON with a CRC-32, lists that are empty as null', () => {
  const { Data, Checksum } = JSON.parse(renderClaims([record])) as { Data: string; Checksum: number };
  expect(Data).toBe(
    '{"kind":"DRACheckpoint","apiVersion":"checkpoint.dra.kubelet.k8s.io/v1","ClaimInfoStateList":[' +
      '{"ClaimUID":"claim-uid","ClaimName":"gpu","Namespace":"ns","PodUIDs":{"pod-a":{},"pod-b":{}},"DriverState":{' +
      '"a.example.com":{"Devices":[' +
      '{"PoolName":"pool","DeviceName":"dev-1","ShareID":"share","RequestNames":["r1"],"CDIDeviceIDs":["a.example.com/gpu=1"]},' +
      '{"PoolName":"pool","DeviceName":"dev-2","RequestNames":null,"CDIDeviceIDs":null}]},' +
      '"b.example.com":{"Devices":null}}}]}',
  );
  expect(Checksum).toBe(3_660_184_792);
  // The IEEE polynomial: a file of another writer with other content.
  expect(parseClaims('{"Data":"{}","Checksum":2745614147}')).toEqual([]);
});

test('what was written is read again', () => {
  expect(parseClaims(renderClaims([record]))).toEqual([record]);
  expect(parseClaims(renderClaims([]))).toEqual([]);
});

test.each([
  ['{', /JSON/],
  ['{"Checksum":0}', /it holds no data/],
  ['{"Data":"{}","Checksum":1}', /checkpoint is corrupted/],
])('a broken file is refused: %s', (text, why) => {
  expect(() => parseClaims(text)).toThrow(why);
});

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'claims-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

const file = () => path.join(dir, 'dra_manager_state');
const id = { namespace: 'ns', name: 'c', uid: 'u' };

test('the next agent knows the claims; a node without claims gets no file', async () => {
  const cache = new ClaimCache(dir);
  await cache.save();
  await expect(stat(file())).rejects.toThrow('ENOENT');
  cache.reference(id, ['a.example.com'], 'pod');
  await cache.save();
  expect((await stat(file())).mode & 0o777).toBe(0o600);
  const next = new ClaimCache(dir);
  expect(next.get(id)).toMatchObject({ uid: 'u', isPrepared: false });
  expect(next.podUids()).toEqual(new Set(['pod']));
  next.delete(id);
  await next.save();
  expect(new ClaimCache(dir).podUids().size).toBe(0);
});

test('saves at the same time end with the newest state on disk', async () => {
  const cache = new ClaimCache(dir);
  const saves = [1, 2, 3, 4].map((n) => {
    cache.reference({ ...id, name: `c${n}` }, [], 'pod');
    return cache.save();
  });
  await Promise.all(saves);
  expect(parseClaims(await readFile(file(), 'utf8')).map((c) => c.name)).toEqual(['c1', 'c2', 'c3', 'c4']);
});

test('a save that failed is made up for by the next one', async () => {
  const cache = new ClaimCache(path.join(dir, 'missing'));
  cache.reference(id, [], 'pod');
  await expect(cache.save()).rejects.toThrow('ENOENT');
  await expect(cache.save()).rejects.toThrow('ENOENT');
});

test('a record that cannot be read stops the agent: devices would be given away twice', async () => {
  await writeFile(file(), 'rubbish');
  expect(() => new ClaimCache(dir)).toThrow(/cannot read the prepared resource claims in .*dra_manager_state/);
});
