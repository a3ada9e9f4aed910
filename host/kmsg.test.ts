import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { followKmsg, parseKmsg } from './kmsg.ts';

test.each([
  ['6,339,5140900,-;NET: Registered PF_INET6\n SUBSYSTEM=net\n', { atUs: 5140900, text: 'NET: Registered PF_INET6' }],
  ['30,1,7,c,caller=T1;a;b\n', { atUs: 7, text: 'a;b' }],
  ['6,339,5140900,-\n', undefined],
  ['', undefined],
  ['no record', undefined],
])('%j', (record, parsed) => {
  expect(parseKmsg(record)).toEqual(parsed);
});

test('records from before are left out; it ends when it is told to, and leaves no timer', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'kmsg-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  const device = path.join(dir, 'kmsg');
  await writeFile(device, '6,2,500,-;one\n'); // a file gives one read what the device gives one record
  const clock = new FakeClock();
  const seen = async (sinceUs: number) => {
    const stop = new AbortController();
    const texts: string[] = [];
    const following = (async () => {
      for await (const { text } of followKmsg(sinceUs, clock, stop.signal, device)) texts.push(text);
    })();
    await clock.advance(1);
    stop.abort();
    await following;
    expect(clock.sleeping).toBe(0);
    return texts;
  };
  expect(await seen(500)).toEqual(['one']);
  expect(await seen(501)).toEqual([]);
});

test('a device that is not there is an error', async () => {
  const following = followKmsg(0, new FakeClock(), new AbortController().signal, '/nonexistent/kmsg');
  await expect(following.next()).rejects.toThrow('ENOENT');
});
