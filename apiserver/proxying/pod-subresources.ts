// pods/log, exec, attach and portforward: passed on to the kubelet of the pod's node.
import type { Pod } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { tunnelledProtocols, tunnelPortForward } from '../../api/streaming/port-forward.ts';
import { type DialSpdy, translateRemoteCommand, wantsV5 } from '../../api/streaming/remote-command.ts';
import { spdyUpgradeHeaders, spliceUpgrade } from '../../api/streaming/upgrade-client.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { RequestInfo } from '../request.ts';
import { badRequest, notFound } from '../status-error.ts';
import type { ConnectSubresource } from '../subresource.ts';
import { answeredError, type Backend, forwardedHeaders, passAnswer } from './backend.ts';
import { kubeletTarget } from './kubelet-target.ts';
import { chooseContainer, execPath, logPath, portForwardPath, streamsOf } from './pod-target.ts';

export interface ProxyDeps {
  readonly reader: ObjectReader;
  readonly backend: Backend;
}

const POD = { group: '', version: 'v1', resource: 'pods' } as const;

export function logSubresource({ reader, backend }: ProxyDeps): ConnectSubresource {
  return {
    type: 'connect',
    ...POD,
    subresource: 'log',
    verbs: ['get'],
    async handle(_request, response, { info, signal }) {
      const pod = podOf(reader, info);
      const path = logPath(pod, chooseContainer(pod, info.query.get('container') ?? ''), info.query);
      const node = pod.spec?.nodeName;
      if (!node) {
        response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 0 }).end(); // nothing ran yet
        return;
      }
      const url = new URL(`${kubeletTarget(reader, node).origin}${path}`);
      const answer = await backend.request(url, 'GET', {}, undefined, signal);
      if (answer.statusCode !== 200) throw await answeredError(answer);
      await passAnswer(answer, response, (headers) => {
        headers['content-type'] = 'text/plain';
      });
    },
  };
}

type StreamKind = 'exec' | 'attach' | 'portforward';

/** exec, attach and portforward differ in their URL, and in what translates their newer WebSocket protocols. */
export function streamSubresource(kind: StreamKind, { reader, backend }: ProxyDeps): ConnectSubresource {
  return {
    type: 'connect',
    ...POD,
    subresource: kind,
    verbs: ['create', 'get'],
    async handle() {
      throw badRequest('Upgrade request required');
    },
    async upgrade(request, socket, head, { info, signal }) {
      const pod = podOf(reader, info);
      const node = pod.spec?.nodeName;
      if (!node) throw badRequest(`pod ${info.name} does not have a host assigned`);
      const path = streamPath(kind, pod, info.query);
      const target = kubeletTarget(reader, node);
      const url = new URL(`${target.origin}${path}`);
      const client = { request, socket, head };
      if (!target.speaksWebSockets) {
        const dial =
          (how: 'upgrade' | 'dial'): DialSpdy =>
          (protocols) =>
            backend[how](url, 'POST', spdyUpgradeHeaders(protocols), signal);
        if (kind === 'portforward' && tunnelledProtocols(request).length > 0)
          return await tunnelPortForward(client, dial('upgrade'));
        if (kind !== 'portforward' && wantsV5(request))
          return await translateRemoteCommand(client, streamsOf(info.query), dial('dial'));
      }
      const upgraded = await backend.upgrade(url, request.method ?? 'GET', forwardedHeaders(request, true), signal);
      await spliceUpgrade(socket, head, upgraded);
    },
  };
}

function streamPath(kind: StreamKind, pod: Pod, query: URLSearchParams): string {
  if (kind === 'portforward') return portForwardPath(pod, query);
  return execPath(kind, pod, chooseContainer(pod, query.get('container') ?? ''), query);
}

function podOf(reader: ObjectReader, { namespace, name }: RequestInfo): Pod {
  const pod = reader.get<Pod>(pods, { namespace, name });
  if (pod === undefined) throw notFound({ group: '', resource: 'pods' }, name);
  return pod;
}
