import { spawn } from 'node:child_process';
import { once } from 'node:events';
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
