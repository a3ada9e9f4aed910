// Opens files until there is no descriptor left, tries to start programs in every way there is, and says how that ended;
// once more after the files were closed. Run with a small limit.
import { closeSync, openSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { isAgentError } from '../../core/errors.ts';
import { systemExec } from '../../host/exec.ts';
import { systemExecStream } from '../../host/exec-stream.ts';
import { networkFollower } from '../../host/ip-monitor.ts';
import { ReadyExec } from '../../host/ready-exec.ts';

const open: number[] = [];
try {
  for (;;) open.push(openSync('/dev/null', 'r'));
} catch {
  // none is left
}
using ready = new ReadyExec({ program: 'cat', args: [] }, systemExec);
const signal = AbortSignal.timeout(20_000);
const outcomes: unknown[] = [
  await codeOf(systemExec('true', [])),
  await codeOf(ready.exec('cat', [], { input: 'x' })),
  await codeOf(networkFollower()(() => {}, signal)),
  await systemExecStream('true', [], new PassThrough(), { signal, timeoutMs: 10_000 }),
];
await new Promise(setImmediate); // what Node tells a moment later has been told
for (const fd of open) closeSync(fd);
outcomes.push(await codeOf(systemExec('true', [])), await codeOf(ready.exec('cat', [], { input: 'x' })));
process.stdout.write(JSON.stringify(outcomes));

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'fine';
  } catch (err) {
    return isAgentError(err, 'EXEC_FAILED') ? 'EXEC_FAILED' : String(err);
  }
}
