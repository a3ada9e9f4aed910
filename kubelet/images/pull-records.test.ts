import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Image } from '../../cri/gen/messages.ts';
import { repositoryOf } from '../runtime/image-ref.ts';
import { type CredentialSource, mustVerify, type VerificationOptions } from './pull-access.ts';
import { fileName } from './pull-record-files.ts';
import { PullRecords } from './pull-records.ts';

describe('which images are verified', () => {
  const of = (policy: VerificationOptions['policy'], image: string, pulledByUs: boolean) =>
    mustVerify(image, pulledByUs, { policy, allowlist: ['docker.io/library/busybox', 'reg.io/free/*'] });

  test.each([
    ['NeverVerify', 'busybox:1', true, false],
    ['AlwaysVerify', 'busybox:1', false, true],
    ['NeverVerifyPreloadedImages', 'busybox:1', false, false],
    ['NeverVerifyPreloadedImages', 'busybox:1', true, true],
    ['NeverVerifyAllowlistedImages', 'busybox:1', true, false],
    ['NeverVerifyAllowlistedImages', 'busybox2:1', false, true],
    ['NeverVerifyAllowlistedImages', 'reg.io/free/a/b:1', true, false],
    ['NeverVerifyAllowlistedImages', 'reg.io/freedom:1', true, true],
  ] as const)('%s, %s pulled by this node: %s → %s', (policy, image, pulledByUs, expected) => {
    expect(of(policy, image, pulledByUs)).toBe(expected);
  });

  test.each([
    ['busybox:1', 'docker.io/library/busybox'],
    ['a/b', 'docker.io/a/b'],
    ['index.docker.io/a', 'docker.io/library/a'],
    [`reg.io:5000/a/b:1@sha256:${'0'.repeat(64)}`, 'reg.io:5000/a/b'],
  ])('%s is of the repository %s', (image, expected) => expect(repositoryOf(image)).toBe(expected));
});

const IMAGE = 'reg.io/private/app:1';
const REPOSITORY = 'reg.io/private/app';
const REF = 'sha256:1234';
const secret = (name: string, credentialHash: string): CredentialSource => ({
  secret: { uid: `uid-${name}`, namespace: 'ns', name, credentialHash },
});
const account = (name: string): CredentialSource => ({ serviceAccount: { uid: `uid-${name}`, namespace: 'ns', name } });

let rootDir: string;
let present: Image[];
let clock: FakeClock;
let records: PullRecords;
const restarted = (policy: VerificationOptions['policy'] = 'NeverVerifyPreloadedImages') =>
  new PullRecords(
    { rootDir, policy, allowlist: [] },
    { images: { listImages: async () => present }, clock, log: silentLog },
  );
const dir = (name: 'pulling' | 'pulled') => path.join(rootDir, 'image_manager', name);
const pulledFile = async (ref = REF) => JSON.parse(await readFile(path.join(dir('pulled'), fileName(ref)), 'utf8'));

beforeEach(async () => {
  rootDir = await mkdtemp(path.join(tmpdir(), 'nodelet-records-'));
  present = [];
  clock = new FakeClock();
  records = restarted();
  await records.recover();
});
afterEach(() => rm(rootDir, { recursive: true }));

async function pull(source: CredentialSource, image = IMAGE): Promise<void> {
  await records.beginPull(image);
  await records.pulled(image, REF, source);
}
const mustPull = (...sources: CredentialSource[]) => records.mustPull(IMAGE, REF, async () => sources);

describe('files', () => {
  test('an intent stands while an image is pulled, and is named and written as upstream does', async () => {
    await records.beginPull(IMAGE);
    expect(await readdir(dir('pulling'))).toEqual([fileName(IMAGE)]);
    const text = await readFile(path.join(dir('pulling'), fileName(IMAGE)), 'utf8');
    expect(text).toBe(
      '{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"ImagePullIntent","image":"reg.io/private/app:1"}',
    );
    await records.pulled(IMAGE, REF, {});
    expect(await readdir(dir('pulling'))).toEqual([]);
    expect(await pulledFile()).toMatchObject({
      kind: 'ImagePulledRecord',
      imageRef: REF,
      credentialMapping: { [REPOSITORY]: { nodePodsAccessible: true } },
    });
  });

  test('two pulls of one image share an intent, which goes with the last', async () => {
    await Promise.all([records.beginPull(IMAGE), records.beginPull(IMAGE)]);
    await records.pullFailed(IMAGE);
    expect(await readdir(dir('pulling'))).toHaveLength(1);
    await records.pullFailed(IMAGE);
    expect(await readdir(dir('pulling'))).toEqual([]);
  });
});

test('an image that a pull without an answer may have brought is open to nobody, until one succeeds', async () => {
  await records.beginPull(IMAGE);
  await records.pullUnanswered(IMAGE);
  expect(await mustPull()).toBe(true);
  await records.beginPull(IMAGE);
  await records.pullFailed(IMAGE);
  expect(await mustPull()).toBe(true);
  await pull(secret('a', 'h'));
  expect([await mustPull(), await mustPull(secret('a', 'h'))]).toEqual([true, false]);
  expect(await readdir(dir('pulling'))).toEqual([]);
});

describe('access', () => {
  test('an image that this node never pulled is open', async () => {
    expect(await mustPull()).toBe(false);
  });

  test('one that is being pulled is not', async () => {
    await records.beginPull(IMAGE);
    expect(await mustPull(secret('a', 'h'))).toBe(true);
  });

  test("one pulled without, or with the node's, credentials is open to all", async () => {
    await pull({});
    expect(await mustPull()).toBe(false);
  });

  test('one pulled with a secret is for pods that have it, by its place or by its content', async () => {
    await pull(secret('a', 'hash-a'));
    expect(await mustPull()).toBe(true);
    expect(await mustPull(secret('b', 'hash-b'))).toBe(true);
    expect(await mustPull(secret('copy', 'hash-a'))).toBe(false);
    expect(await mustPull(secret('a', 'hash-new'))).toBe(false);
    expect(await mustPull(secret('copy', 'another'))).toBe(false); // remembered by its place since
    expect((await pulledFile()).credentialMapping[REPOSITORY].kubernetesSecrets).toHaveLength(2);
  });

  test('one pulled with a service account is for pods of that account', async () => {
    await pull(account('builder'));
    expect(await mustPull(account('builder'))).toBe(false);
    expect(await mustPull(account('default'))).toBe(true);
  });

  test('the same content under another name of the image has to be shown, too', async () => {
    await pull(secret('a', 'h'));
    expect(await records.mustPull('reg.io/other:1', REF, async () => [secret('a', 'h')])).toBe(true);
  });

  test('once open to all, it stays so', async () => {
    await pull(secret('a', 'h'));
    await pull({});
    await pull(secret('b', 'h2'));
    expect((await pulledFile()).credentialMapping[REPOSITORY]).toEqual({ nodePodsAccessible: true });
  });

  test('the list of secrets is bounded, the newest stay', async () => {
    for (let n = 0; n < 105; n++) await pull(secret(`s${n}`, `h${n}`));
    const { kubernetesSecrets } = (await pulledFile()).credentialMapping[REPOSITORY];
    expect(kubernetesSecrets).toHaveLength(100);
    expect(kubernetesSecrets.at(-1).name).toBe('s104');
  });

  test('NeverVerify asks nothing', async () => {
    await pull(secret('a', 'h'));
    expect(await restarted('NeverVerify').mustPull(IMAGE, REF, async () => [])).toBe(false);
  });

  test('a record that cannot be read forces a pull', async () => {
    await pull({});
    await writeFile(path.join(dir('pulled'), fileName(REF)), '{half');
    expect(await mustPull()).toBe(true);
    await pull({}); // which writes it anew
    expect(await mustPull()).toBe(false);
  });
});

describe('after a crash', () => {
  const image = (id: string, ...repoTags: string[]): Image => ({
    id,
    repoTags,
    repoDigests: [],
    size: 1,
    username: '',
    pinned: false,
  });

  test('a pull of which nobody knows the end is open to nobody', async () => {
    await records.beginPull(IMAGE);
    present = [image(REF, IMAGE), image('sha256:other', 'reg.io/other:1')];
    records = restarted();
    await records.recover();
    expect(await readdir(dir('pulling'))).toEqual([]);
    expect((await pulledFile()).credentialMapping).toEqual({ [REPOSITORY]: {} });
    expect(await mustPull(secret('a', 'h'))).toBe(true);
    expect(await readdir(dir('pulled'))).toHaveLength(1);
  });

  test('names are compared in full', async () => {
    await records.beginPull('busybox:1');
    present = [image(REF, 'docker.io/library/busybox:1')];
    await restarted().recover();
    expect((await pulledFile()).credentialMapping).toEqual({ 'docker.io/library/busybox': {} });
  });

  test('what an earlier pull opened stays open', async () => {
    await pull({});
    await records.beginPull(IMAGE);
    present = [image(REF, IMAGE)];
    records = restarted();
    await records.recover();
    expect(await mustPull()).toBe(false);
  });

  test('a pull that brought nothing leaves nothing', async () => {
    await records.beginPull(IMAGE);
    await restarted().recover();
    expect([...(await readdir(dir('pulling'))), ...(await readdir(dir('pulled')))]).toEqual([]);
  });

  test('a half-written file is removed', async () => {
    await writeFile(path.join(dir('pulled'), `.${fileName(REF)}.abc`), '{');
    await restarted().recover();
    expect(await readdir(dir('pulled'))).toEqual([]);
  });
});

test('records of images that were collected are dropped, newer ones stay', async () => {
  await pull({});
  await clock.advance(10_000);
  const startedAtMs = clock.now();
  await records.beginPull('reg.io/new:1');
  await records.pulled('reg.io/new:1', 'sha256:new', {});
  await records.prune([REF], startedAtMs);
  expect(await readdir(dir('pulled'))).toHaveLength(2);
  await records.prune([], startedAtMs);
  expect(await readdir(dir('pulled'))).toEqual([fileName('sha256:new')]);
});
