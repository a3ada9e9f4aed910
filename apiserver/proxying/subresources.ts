// Everything that leads to a node or a pod, as the routes want it.
import type { ClientTls } from '../../api/streaming/upgrade-client.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { ConnectSubresource } from '../subresource.ts';
import { Backend } from './backend.ts';
import { proxySubresource } from './generic-proxy.ts';
import { logSubresource, streamSubresource } from './pod-subresources.ts';

export interface ProxyingOptions {
  /** What this server proves itself to kubelets with; `ca` verifies theirs, and without it theirs is not verified. */
  readonly kubeletTls: ClientTls;
}

/** log, exec, attach, portforward and proxy, of pods, services and nodes. */
export function proxyingSubresources(options: ProxyingOptions, reader: ObjectReader): ConnectSubresource[] {
  const deps = { reader, backend: new Backend(options.kubeletTls) };
  return [
    logSubresource(deps),
    streamSubresource('exec', deps),
    streamSubresource('attach', deps),
    streamSubresource('portforward', deps),
    proxySubresource('nodes', deps),
    proxySubresource('pods', deps),
    proxySubresource('services', deps),
  ];
}
