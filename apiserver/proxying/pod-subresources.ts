// pods/log, exec, attach and portforward: passed on to the kubelet of the pod's node.
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Pod } from '../../api/pod.ts';
import { pods } from '../../api/resources.ts';
import { tunnelledProtocols, tunnelPortForward } from '../../api/streaming/port-forward.ts';
import {
  type ClientUpgrade,
  type DialSpdy,
  REMOTE_COMMAND_V4,
  type RemoteCommandStreams,
  translateRemoteCommand,
  wantsV5,
} from '../../api/streaming/remote-command.ts';
import { spdyUpgradeHeaders, spliceUpgrade } from '../../api/streaming/upgrade-client.ts';
import { isWebSocketRequest } from '../../api/streaming/websocket.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { RequestInfo } from '../request.ts';
import { badRequest, notFound } from '../status-error.ts';
import type { ConnectSubresource } from '../subresource.ts';
import { answeredError, type Backend, forwardedHeaders, passAnswer } from './backend.ts';
import { kubeletTarget } from './kubelet-target.ts';
import { logProtocol, sendAsMessages } from './log-messages.ts';
import { chooseContainer, execPath, logPath, portForwardPath, streamsOf } from './pod-target.ts';

export interface ProxyDeps {
  readonly reader: ObjectReader;
  readonly backend: Backend;
}

const POD = { group: '', version: 'v1', resource: 'pods' } as const;

export function logSubresource({ reader, backend }: ProxyDeps): ConnectSubresource {
  /** The kubelet's answer; undefined for a pod that no node has yet. */
  const openLog = async (info: RequestInfo, signal: AbortSignal): Promise<IncomingMessage | undefined> => {
    const pod = podOf(reader, info);
    const path = logPath(pod, chooseContainer(pod, info.query.get('container') ?? ''), info.query);
    const node = pod.spec?.nodeName;
    if (!node) return undefined;
    const url = new URL(`${kubeletTarget(reader, node).origin}${path}`);
    const answer = await backend.request(url, 'GET', {}, undefined, signal);
    if (answer.statusCode !== 200) throw await answeredError(answer);
    return answer;
  };
  return {
    type: 'connect',
    ...POD,
    subresource: 'log',
    verbs: ['get'],
    async handle(_request, response, { info, signal }) {
      const answer = await openLog(info, signal);
      if (answer === undefined) {
        response.writeHead(200, { 'content-type': 'text/plain', 'content-length': 0 }).end(); // nothing ran yet
        return;
      }
      await passAnswer(answer, response, (headers) => {
        headers['content-type'] = 'text/plain';
      });
    },
    async upgrade(request, socket, head, { info, signal }) {
      if (!isWebSocketRequest(request)) throw badRequest('logs are for WebSockets, of all that can be upgraded to');
      const protocol = logProtocol(request);
      const answer = (await openLog(info, signal)) ?? Readable.from([]);
      await sendAsMessages({ request, socket, head }, protocol, answer);
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
      const dial: DialSpdy = (protocols) => backend.upgrade(url, 'POST', spdyUpgradeHeaders(protocols), signal);
      if (!target.speaksWebSockets) {
        if (kind === 'portforward' && tunnelledProtocols(request).length > 0)
          return await tunnelPortForward(client, dial);
        if (kind !== 'portforward' && wantsV5(request)) return await translate(client, streamsOf(info.query), dial);
      }
      const upgraded = await backend.upgrade(url, request.method ?? 'GET', forwardedHeaders(request, true), signal);
      await spliceUpgrade(socket, head, upgraded);
    },
  };
}

/** Dialled before anything is answered: what fails there is an HTTP error, for which kubectl falls back to SPDY. */
async function translate(client: ClientUpgrade, streams: RemoteCommandStreams, dial: DialSpdy): Promise<void> {
  const dialled = await dial([REMOTE_COMMAND_V4]);
  try {
    await translateRemoteCommand(client, streams, async () => dialled);
  } catch (err) {
    dialled.socket.destroy(); // the client's handshake failed
    throw err;
  }
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
