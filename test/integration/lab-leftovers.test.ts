// What commands of a lab leave when they are killed between two steps.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { systemExec } from '../../host/exec.ts';
import { LabNodes } from '../../lab/lab-nodes.ts';
import { labNames } from '../../lab/names.ts';
import { labFiles } from '../../lab/pki.ts';
import { LabStateFile } from '../../lab/state.ts';
import { TestNamespaces } from '../harness/netns.ts';

const namespaces = new TestNamespaces('lab');
afterAll(() => namespaces[Symbol.asyncDispose]());

test('a node that booted and was not written down any more is taken away with its processes', async () => {
  const dir = '/tmp/nodelet-lab-leftovers'; // never made
  const netns = await namespaces.create('node-1');
  const booted = spawn(
    'ip',
    ['netns', 'exec', netns, 'unshare', '--pid', '--fork', '--kill-child', 'sh', '-c', 'echo up; sleep 1000'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  onTestFinished(() => void booted.kill('SIGKILL'));
  const ended = once(booted, 'exit');
  await once(booted.stdout, 'data');
  const parts = { names: labNames(dir), files: labFiles(dir), state: new LabStateFile(dir) };
  const nodes = new LabNodes(dir, parts, { exec: systemExec, clock: systemClock, self: ['true'] });
  const node = { name: 'node-1', ordinal: 1, netns, ip: '172.29.100.10' };
  await nodes.takeAway(node);
  expect((await ended)[1]).toBe('SIGKILL');
  expect((await systemExec('ip', ['netns', 'pids', netns])).code).not.toBe(0); // gone
  await nodes.takeAway(node); // and once more
});
