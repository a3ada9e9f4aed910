// One attempt of a probe: from its spec to the handler of its kind (pkg/kubelet/prober/prober.go).
import { isIPv6 } from 'node:net';
import type { Container, Probe } from '../api/pod.ts';
import { probeGrpc } from './grpc.ts';
import { HttpProbeRequest } from './http.ts';
import { MAX_OUTPUT_BYTES } from './outcome.ts';
import type { ExecInContainer } from './probe-manager.ts';
import type { Attempt } from './probe-run.ts';
import { expandCommand, httpTarget, resolvePort } from './target.ts';
import { probeTcp } from './tcp.ts';

type HttpAction = NonNullable<Probe['httpGet']>;

export function createAttempt(exec: ExecInContainer): Attempt {
  const requests = new WeakMap<Probe, { readonly podIp: string; readonly request: HttpProbeRequest }>();
  const requestOf = (probe: Probe, action: HttpAction, container: Container, podIp: string): HttpProbeRequest => {
    const known = requests.get(probe);
    if (known?.podIp === podIp) return known.request;
    const request = new HttpProbeRequest(httpTarget(action, container, podIp));
    requests.set(probe, { podIp, request });
    return request;
  };
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
      if (probe.httpGet !== undefined) return await requestOf(probe, probe.httpGet, container, podIp).send(signal);
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
