// One attempt of a probe: from its spec to the handler of its kind (pkg/kubelet/prober/prober.go).
import { isIPv6 } from 'node:net';
import { probeGrpc } from './grpc.ts';
import { probeHttp } from './http.ts';
import { MAX_OUTPUT_BYTES } from './outcome.ts';
import type { ExecInContainer } from './probe-manager.ts';
import type { Attempt } from './probe-run.ts';
import { expandCommand, httpTarget, resolvePort } from './target.ts';
import { probeTcp } from './tcp.ts';

export function createAttempt(exec: ExecInContainer): Attempt {
  return async ({ container, status, containerId, probe }, signal) => {
    const podIp = status.podIP ?? '';
    const timeoutSeconds = probe.timeoutSeconds || 1;
    try {
      if (probe.exec !== undefined) {
        const command = expandCommand(probe.exec.command ?? [], container);
        const result = await exec(containerId, command, timeoutSeconds, signal);
        if ('timedOut' in result) return { kind: 'failure', output: result.message };
        if (result.exitCode === 0) return { kind: 'success', output: '' };
        return { kind: 'failure', output: result.output.subarray(0, MAX_OUTPUT_BYTES).toString('utf8') };
      }
      if (probe.httpGet !== undefined) return await probeHttp(httpTarget(probe.httpGet, container, podIp), signal);
      if (probe.tcpSocket !== undefined) {
        return await probeTcp(probe.tcpSocket.host || podIp, resolvePort(probe.tcpSocket.port, container), signal);
      }
      if (probe.grpc !== undefined) {
        const address = `${isIPv6(podIp) ? `[${podIp}]` : podIp}:${probe.grpc.port}`;
        return await probeGrpc(address, probe.grpc.service ?? '', timeoutSeconds * 1000, signal);
      }
      return { kind: 'error', message: `missing probe handler for ${container.name}` };
    } catch (err) {
      return { kind: 'error', message: err instanceof Error ? err.message : String(err) };
    }
  };
}
