import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';

const signals = path.join(import.meta.dirname, 'signals.ts');

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'a command with nothing else to do waits for %s and then ends as it wants to',
  async (name) => {
    const script = `
      const { stopSignal, untilStopped } = await import(${JSON.stringify(signals)});
      const stop = stopSignal();
      console.log('waiting');
      await untilStopped(stop);
      console.log(stop.reason.message);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    let said = '';
    for await (const chunk of child.stdout) {
      if (said === '') child.kill(name);
      said += String(chunk);
    }
    expect(await closed).toEqual([0, null]);
    expect(said).toBe(`waiting\nstopped by ${name}\n`);
  },
);

test('a command cleans up although nobody reads what it says any more', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-signals-'));
  const proof = path.join(dir, 'cleaned-up');
  const script = `
    const { stopSignal, surviveLostOutput, untilStopped } = await import(${JSON.stringify(signals)});
    const { setImmediate } = await import('node:timers/promises');
    const { writeFileSync } = await import('node:fs');
    const stop = stopSignal();
    surviveLostOutput();
    console.log('waiting');
    await untilStopped(stop);
    for (let i = 0; i < 3; i++) {
      console.log('going down');
      await setImmediate();
    }
    writeFileSync(${JSON.stringify(proof)}, '');`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  await once(child.stdout, 'data');
  child.stdout.destroy();
  child.kill('SIGHUP');
  expect(await exited).toEqual([0, null]);
  expect(existsSync(proof)).toBe(true);
  await rm(dir, { recursive: true });
});
