import { expect, test } from 'vitest';
import { deleteUdpFlows, listUdpFlows } from './conntrack.ts';
import type { Exec } from './exec.ts';

const signal = new AbortController().signal;

test('flows of many clients to one endpoint are one group, other protocols none, wherever the output is cut', async () => {
  const text = [
    'udp      17 29 src=10.244.1.5 dst=10.96.0.10 sport=4001 dport=53 [UNREPLIED] src=10.244.2.9 dst=10.244.1.5 sport=5353 dport=4001 mark=0 use=1',
    'udp      17 118 src=10.244.1.6 dst=10.96.0.10 sport=4002 dport=53 src=10.244.2.9 dst=10.244.1.6 sport=5353 dport=4002 [ASSURED] mark=0 use=1',
    'tcp      6 100 ESTABLISHED src=10.244.1.6 dst=10.96.0.10 sport=4002 dport=53 src=10.244.2.9 dst=10.244.1.6 sport=53 dport=4002 [ASSURED] mark=0 use=1',
    'udp      17 garbage',
  ].join('\n');
  for (const size of [1, 7, 64, 10_000]) {
    const exec: Exec = async (_program, _args, opts) => {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; at += size) opts!.onStdout!(bytes.subarray(at, at + size));
      return { code: 0, signal: undefined, stdout: '', stderr: '' };
    };
    expect(await listUdpFlows(exec, { family: 4, signal })).toEqual([
      { originalIp: '10.96.0.10', originalPort: 53, replyIp: '10.244.2.9', replyPort: 5353 },
    ]);
  }
});

test('flows that ended by themselves meanwhile are no failure', async () => {
  const flows = { originalIp: '10.96.0.10', originalPort: 53, replyIp: '10.244.2.9', replyPort: 5353 };
  const answer = (stderr: string) => async () => ({ code: 1, signal: undefined, stdout: '', stderr });
  const gone = answer('conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.');
  expect(await deleteUdpFlows(gone, flows, { family: 4, signal })).toBe(0);
  const two = async () => ({
    ...(await gone()),
    code: 0,
    stderr: 'conntrack v1.4.7: 2 flow entries have been deleted.',
  });
  expect(await deleteUdpFlows(two, flows, { family: 4, signal })).toBe(2);
  const refused = answer('Operation failed: Operation not permitted');
  await expect(deleteUdpFlows(refused, flows, { family: 4, signal })).rejects.toMatchObject({
    code: 'CONNTRACK_FAILED',
  });
});
