// etcd v3 over gRPC. Imported only where subnets are leased in etcd: the gRPC library costs memory.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  credentials,
  status as grpcStatus,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { WireReader } from '../../api/protobuf-wire.ts';
import { linkedSignal } from '../../core/abort.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { EtcdKv, KeyEvent, KeyValue, Snapshot } from './kv.ts';
import * as m from './messages.ts';

export interface EtcdOptions {
  /** URLs such as `http://127.0.0.1:2379`; all http or all https. The first that answers is used. */
  readonly endpoints: readonly string[];
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly username?: string;
  readonly password?: string;
}

/** One call, ms: etcd itself gives up an election's worth of waiting after 7 s. */
const CALL_TIMEOUT_MS = 10_000;

const RANGE = '/etcdserverpb.KV/Range';
const PUT = '/etcdserverpb.KV/Put';
const TXN = '/etcdserverpb.KV/Txn';
const GRANT = '/etcdserverpb.Lease/LeaseGrant';
const REVOKE = '/etcdserverpb.Lease/LeaseRevoke';
const TIME_TO_LIVE = '/etcdserverpb.Lease/LeaseTimeToLive';
const WATCH = '/etcdserverpb.Watch/Watch';
const AUTHENTICATE = '/etcdserverpb.Auth/Authenticate';

const asIs = (bytes: Buffer): Buffer => bytes;

/** @throws {AgentError} ETCD_FAILED when the endpoints cannot be used or a certificate file cannot be read. */
export async function connectEtcd(opts: EtcdOptions): Promise<EtcdKv> {
  const urls = opts.endpoints.map((e) => new URL(e.includes('://') ? e : `http://${e}`));
  const tls = urls.some((u) => u.protocol === 'https:');
  if (urls.length === 0 || urls.some((u) => (u.protocol === 'https:') !== tls)) {
    throw new AgentError('the etcd endpoints cannot be used: expected URLs that are all http or all https', {
      code: 'ETCD_FAILED',
      hint: 'mend --etcd-endpoints',
    });
  }
  const files = tls ? await readCertificates(opts) : undefined;
  const clients = urls.map((url) => {
    const { creds, options } = files === undefined ? PLAIN : secured(url, files);
    return new Client(url.host.includes(':') ? url.host : `${url.host}:2379`, creds, {
      'grpc.enable_http_proxy': 0,
      'grpc.max_receive_message_length': 64 << 20, // thousands of leases in one list
      'grpc.max_reconnect_backoff_ms': 3_000,
      'grpc.keepalive_time_ms': 30_000, // a watch on a member that was cut off must end
      'grpc.keepalive_timeout_ms': 10_000,
      ...options,
    });
  });
  return new EtcdClient(clients, opts);
}

interface Security {
  readonly creds: ChannelCredentials;
  readonly options: ClientOptions;
}

const PLAIN: Security = { creds: credentials.createInsecure(), options: {} };

/** CA, key and certificate in PEM; null where none is given. */
type Certificates = readonly [ca: Buffer | null, key: Buffer | null, cert: Buffer | null];

async function readCertificates({ caFile, keyFile, certFile }: EtcdOptions): Promise<Certificates> {
  const read = (file: string | undefined) => (file === undefined ? null : readFile(file));
  try {
    return await Promise.all([read(caFile), read(keyFile), read(certFile)]);
  } catch (cause) {
    throw new AgentError(`the certificates for etcd cannot be read: ${errorMessage(cause)}`, {
      code: 'ETCD_FAILED',
      cause,
    });
  }
}

/**
 * In TLS, a server is not asked for by its address (RFC 6066), and Node.js refuses to: it is asked for by a name that says
 * nothing, and its certificate is held against the address.
 */
function secured(url: URL, [ca, key, cert]: Certificates): Security {
  const ip = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(ip) === 0) return { creds: credentials.createSsl(ca, key, cert), options: {} };
  const verify = { checkServerIdentity: (_name: string, peer: PeerCertificate) => checkServerIdentity(ip, peer) };
  return {
    creds: credentials.createSsl(ca, key, cert, verify),
    options: { 'grpc.ssl_target_name_override': 'etcd' },
  };
}

class EtcdClient implements EtcdKv {
  readonly #clients: readonly Client[];
  readonly #opts: EtcdOptions;
  /** Index of the endpoint in use: that which answered last. */
  #current = 0;
  #token: string | undefined;

  constructor(clients: readonly Client[], opts: EtcdOptions) {
    this.#clients = clients;
    this.#opts = opts;
  }

  async get(key: string, signal: AbortSignal): Promise<KeyValue | undefined> {
    return m.readRange(await this.#call(RANGE, m.rangeRequest(key), signal)).entries[0];
  }

  async list(prefix: string, signal: AbortSignal): Promise<Snapshot> {
    return m.readRange(await this.#call(RANGE, m.rangeRequest(prefix, m.endOfPrefix(prefix)), signal));
  }

  async put(key: string, value: string, leaseId: string, signal: AbortSignal): Promise<void> {
    await this.#call(PUT, m.putRequest(key, value, leaseId), signal);
  }

  create(key: string, value: string, leaseId: string, signal: AbortSignal): Promise<boolean> {
    return this.#txn(key, { createdAt: 'never' }, m.putOperation(m.putRequest(key, value, leaseId)), signal);
  }

  replace({ key, modRevision }: KeyValue, value: string, leaseId: string, signal: AbortSignal): Promise<boolean> {
    return this.#txn(key, { modRevision }, m.putOperation(m.putRequest(key, value, leaseId)), signal);
  }

  remove({ key, modRevision }: KeyValue, signal: AbortSignal): Promise<boolean> {
    return this.#txn(key, { modRevision }, m.deleteOperation(key), signal);
  }

  async #txn(key: string, condition: m.Condition, operation: Buffer, signal: AbortSignal): Promise<boolean> {
    return m.readTxn(await this.#call(TXN, m.txnRequest(key, condition, operation), signal));
  }

  async grantLease(ttlSeconds: number, signal: AbortSignal): Promise<string> {
    return m.readLease(await this.#call(GRANT, m.encode([1, ttlSeconds]), signal)).id;
  }

  async revokeLease(leaseId: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#call(REVOKE, m.encode([1, BigInt(leaseId)]), signal);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  async leaseTimeLeft(leaseId: string, signal: AbortSignal): Promise<number | undefined> {
    const { ttlSeconds } = m.readLease(await this.#call(TIME_TO_LIVE, m.encode([1, BigInt(leaseId)]), signal));
    return ttlSeconds < 0 ? undefined : ttlSeconds;
  }

  async *watch(prefix: string, revision: number, signal: AbortSignal): AsyncIterable<readonly KeyEvent[]> {
    if (signal.aborted) return;
    using linked = linkedSignal(signal);
    const call = this.#clients[this.#current]!.makeBidiStreamRequest(WATCH, asIs, asIs, await this.#metadata(signal));
    linked.signal.addEventListener('abort', () => call.cancel(), { once: true });
    call.write(m.watchCreateRequest(prefix, revision));
    try {
      for await (const bytes of call) {
        const answer = m.readWatch(new WireReader(bytes as Buffer));
        if (answer.canceled) throw watchCanceled(prefix, answer);
        if (answer.events.length > 0) yield answer.events;
      }
      if (!signal.aborted)
        throw new AgentError(`etcd ended the watch of ${prefix}`, { code: 'ETCD_FAILED', retryable: true });
    } catch (err) {
      if (signal.aborted) return;
      throw err instanceof AgentError ? err : this.#failed(WATCH, err as ServiceError);
    } finally {
      linked.abort(); // the consumer may have left the loop
    }
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  /** Asks the endpoint that answered last, then each of the others once when it cannot be reached. */
  async #call(path: string, request: Buffer, signal: AbortSignal): Promise<WireReader> {
    // An index of its own: calls that fail together must not skip an endpoint between them.
    for (let [at, left] = [this.#current, this.#clients.length]; ; at = (at + 1) % this.#clients.length) {
      try {
        const answer = await this.#ask(at, path, request, signal);
        this.#current = at;
        return new WireReader(answer);
      } catch (err) {
        const { code } = err as ServiceError;
        const unreachable = code === grpcStatus.UNAVAILABLE || code === grpcStatus.DEADLINE_EXCEEDED;
        // A write whose answer was lost may have happened: callers compare before they write.
        if (!unreachable || signal.aborted || --left === 0) throw this.#failed(path, err as ServiceError, at);
      }
    }
  }

  /** A token ages, and an etcd that starts anew knows none: what was refused for it is asked once more with another. */
  async #ask(at: number, path: string, request: Buffer, signal: AbortSignal): Promise<Buffer> {
    const client = this.#clients[at]!;
    const hadToken = this.#token !== undefined;
    try {
      return await unary(client, path, request, await this.#metadata(signal, at), signal);
    } catch (err) {
      if (!isTokenRefused(err as ServiceError)) throw err;
      this.#token = undefined;
      if (!hadToken) throw err;
      return await unary(client, path, request, await this.#metadata(signal, at), signal);
    }
  }

  async #metadata(signal: AbortSignal, at = this.#current): Promise<Metadata> {
    const { username, password } = this.#opts;
    const metadata = new Metadata();
    if (username === undefined) return metadata;
    if (this.#token === undefined) {
      const request = m.encode([1, username], [2, password]);
      const answer = await unary(this.#clients[at]!, AUTHENTICATE, request, metadata, signal);
      this.#token = m.readToken(new WireReader(answer));
    }
    metadata.set('token', this.#token);
    return metadata;
  }

  #failed(path: string, err: ServiceError, at = this.#current): AgentError {
    const { endpoints } = this.#opts;
    return new AgentError(`etcd at ${endpoints[at]} failed ${path}: ${err.details || err.message}`, {
      code: 'ETCD_FAILED',
      cause: err,
      retryable: true,
      hint: 'check that the endpoints of --etcd-endpoints answer and that the certificates or the user may be used',
    });
  }
}

function unary(client: Client, path: string, request: Buffer, metadata: Metadata, signal: AbortSignal) {
  return new Promise<Buffer>((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const deadline = { deadline: Date.now() + CALL_TIMEOUT_MS };
    const call = client.makeUnaryRequest(path, asIs, asIs, request, metadata, deadline, (err, answer) => {
      signal.removeEventListener('abort', cancel);
      if (err !== null) reject(err);
      else resolve(answer!);
    });
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
  });
}

/** Also after users or roles changed: etcd then takes tokens of before for old. */
function isTokenRefused({ code, details }: ServiceError): boolean {
  return code === grpcStatus.UNAUTHENTICATED || /revision of auth store is old/.test(details ?? '');
}

function isNotFound(err: unknown): boolean {
  return err instanceof AgentError && (err.cause as Partial<ServiceError> | undefined)?.code === grpcStatus.NOT_FOUND;
}

function watchCanceled(prefix: string, { compactRevision, cancelReason }: m.WatchAnswer): AgentError {
  return new AgentError(`etcd cancelled the watch of ${prefix}: ${cancelReason || `compacted at ${compactRevision}`}`, {
    code: 'ETCD_FAILED',
    retryable: true,
  });
}
