// One node with what Services are used from and lead to, as network namespaces of both IP families: pods on the node's
// bridge, a pod that counts as another node's, a client outside. Endpoints tell their name and whom they see.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Exec } from '../../host/exec.ts';
import { systemExec } from '../../host/exec.ts';
import { ipBatch } from '../../host/ip-batch.ts';
import { HeldConnections } from './held-connections.ts';
import { createBridge, createVeth, sysctlInNetns, TestNamespaces } from './netns.ts';
import { ADDRESSES, ENDPOINT_PORT, type Family, type Place } from './service-matrix.ts';

/** Of endpoints, for connections that stay open. */
export const ECHO_PORT = 8081;

export class ServiceNet implements AsyncDisposable {
  readonly #namespaces = new TestNamespaces('svc');
  readonly #children: ChildProcess[] = [];
  readonly #netns = new Map<Place | 'remote', string>();

  static async create(): Promise<ServiceNet> {
    const net = new ServiceNet();
    try {
      await net.#build();
    } catch (err) {
      await net[Symbol.asyncDispose]();
      throw err;
    }
    return net;
  }

  /** Runs programs on the node. */
  get node(): Exec {
    return this.#namespaces.exec(this.netns('node'));
  }

  netns(place: Place | 'remote'): string {
    return this.#netns.get(place)!;
  }

  async #build(): Promise<void> {
    for (const place of ['node', 'outside', 'pod', 'endpoint', 'remote'] as const) {
      this.#netns.set(place, await this.#namespaces.create(place));
    }
    await this.#link('eth0', 'outside', 'node', 'outside');
    await createBridge(systemExec, this.netns('node'), 'cni0');
    await this.#link('vpod', 'pod', 'bridge', 'localPod', 'cni0');
    await this.#link('vep', 'endpoint', 'bridge', 'localEndpoint', 'cni0');
    await this.#link('far0', 'remote', 'remoteGateway', 'remoteEndpoint');
    await this.node('bridge', ['link', 'set', 'dev', 'vep', 'hairpin', 'on']); // an endpoint may reach itself
    await this.#setSysctls();
    await Promise.all((['endpoint', 'remote'] as const).map((place) => this.#serve(place)));
  }

  /** Joins a namespace to the node, with addresses and routes of both families. */
  async #link(
    device: string,
    place: Place | 'remote',
    near: 'node' | 'bridge' | 'remoteGateway',
    far: 'outside' | 'localPod' | 'localEndpoint' | 'remoteEndpoint',
    master?: string,
  ): Promise<void> {
    const netns = this.netns(place);
    await createVeth(
      systemExec,
      { netns: this.netns('node'), device, ...(master === undefined ? {} : { master }) },
      { netns, device: 'eth0' },
    );
    for (const family of [4, 6] as const) {
      const a = ADDRESSES[family];
      const [length, everywhere] = family === 4 ? [24, '0.0.0.0/0'] : [64, '::/0'];
      const gateway = a[near].split('/')[0]!;
      const flags = family === 6 ? ' nodad' : ''; // an address is usable at once
      const onNode = `address replace ${gateway}/${length} dev ${master ?? device}${flags}`;
      await ipBatch(systemExec, [onNode], { netns: this.netns('node') });
      const lines = [`address add ${a[far]}/${length} dev eth0${flags}`, `route add ${everywhere} via ${gateway}`];
      await ipBatch(systemExec, lines, { netns });
      if (place === 'outside') {
        await ipBatch(systemExec, [`route add ${everywhere} via ${a.outside}`], { netns: this.netns('node') });
      }
    }
  }

  async #setSysctls(): Promise<void> {
    const sysctl = sysctlInNetns(this.netns('node'));
    for (const name of [
      'net/ipv4/ip_forward',
      'net/ipv6/conf/all/forwarding',
      'net/bridge/bridge-nf-call-iptables',
      'net/bridge/bridge-nf-call-ip6tables',
    ]) {
      if (!(await sysctl.set(name, '1'))) throw new Error(`cannot set ${name}`);
    }
    // Refusals are ICMP messages, and many clients are refused at once here.
    await sysctl.set('net/ipv4/icmp_ratelimit', '0');
    await sysctl.set('net/ipv6/icmp/ratelimit', '0');
  }

  /**
   * Answers each connection with `NAME ADDRESS`, the address being the client's; at ECHO_PORT with whatever it gets.
   * Resolves when it listens.
   */
  async #serve(place: 'endpoint' | 'remote'): Promise<void> {
    const name = place === 'endpoint' ? 'local' : 'remote';
    const script = `require('net').createServer((s)=>{s.on('error',()=>{});s.pipe(s)}).listen(${ECHO_PORT},'::');require('net').createServer((s)=>{s.on('error',()=>{});s.end('${name} '+s.remoteAddress.replace('::ffff:',''))}).listen({port:${ENDPOINT_PORT},host:'::',backlog:511},()=>console.log('up'))`;
    const child = this.#spawn(place, script);
    await new Promise<void>((resolve, reject) => {
      child.stdout!.once('data', () => resolve());
      child.once('close', (code) => reject(new Error(`the server of ${place} ended with ${code}`)));
    });
  }

  /**
   * Connects from `place` to all targets, several times each and many at once, and returns what was seen at each:
   * answers, `rejected`, `dropped` or another error, without repetition. A target is tried until it has shown as many
   * different answers as it wants, at most 64 times.
   */
  async connect(place: Place, targets: readonly Target[], family: Family): Promise<readonly (readonly string[])[]> {
    const child = this.#spawn(place, CLIENT, [JSON.stringify(targets), String(family)]);
    let out = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    if (code !== 0) throw new Error(`the client of ${place} ended with ${code}`);
    return JSON.parse(out) as string[][];
  }

  /**
   * Opens new connections from `place` to each of the targets, one after the other with a pause between, until the
   * function that comes back is called: that returns how many there were, and what was seen, without repetition.
   */
  connectOverAndOver(
    place: Place,
    targets: readonly Target[],
    family: Family,
  ): () => Promise<{ readonly count: number; readonly seen: readonly string[] }> {
    const child = this.#spawn(place, REPEATER, [JSON.stringify(targets), String(family)], 'pipe');
    child.stdin!.on('error', () => {}); // it has ended, which its exit code tells
    let out = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    return async () => {
      child.stdin!.end();
      const code = await ended;
      if (code !== 0) throw new Error(`the client of ${place} ended with ${String(code)}`);
      return JSON.parse(out) as { count: number; seen: string[] };
    };
  }

  /** Opens connections that are used until they are closed. */
  async hold(place: Place, targets: readonly Omit<Target, 'answers'>[], family: Family): Promise<HeldConnections> {
    return await HeldConnections.open(this.netns(place), targets, family);
  }

  #spawn(
    place: Place | 'remote',
    script: string,
    args: readonly string[] = [],
    input: 'ignore' | 'pipe' = 'ignore',
  ): ChildProcess {
    const command = ['netns', 'exec', this.netns(place), process.execPath, '-e', script, ...args];
    const child = spawn('ip', command, { stdio: [input, 'pipe', 'inherit'] });
    this.#children.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    await this.#namespaces[Symbol.asyncDispose]();
  }
}

export interface Target {
  readonly ip: string;
  readonly port: number;
  /** Different answers to wait for; 0 when silence is expected: then it is tried once, for a short while. */
  readonly answers: number;
}

/** How long a connection that should be answered may take, and how long silence is listened to, ms. */
const ONCE = `
const net = require('net');
const [targets, family] = [JSON.parse(process.argv[1]), Number(process.argv[2])];
const once = ({ ip, port, answers }) => new Promise((resolve) => {
  let text = '';
  const socket = net.connect({ host: ip, port, family });
  const timer = setTimeout(() => end('dropped'), answers === 0 ? 700 : 15000);
  const end = (what) => { clearTimeout(timer); socket.destroy(); resolve(what); };
  socket.on('data', (chunk) => { text += chunk; });
  socket.on('end', () => end(text));
  socket.on('error', (err) => end(err.code === 'ECONNREFUSED' ? 'rejected' : err.code));
});
`;

const CLIENT = `${ONCE}
const probe = async (target) => {
  const seen = new Set();
  for (let i = 0; i < 64 && (i === 0 || seen.size < target.answers); i++) seen.add(await once(target));
  // Whoever should be the only one is looked for a few times more. (A refusal over IPv6 takes a second: the kernel does
  // not heed one that comes while connect() is still at work, and asks again.)
  for (let i = 0; i < 3 && target.answers > 0 && !seen.has('rejected'); i++) seen.add(await once(target));
  return [...seen].sort();
};
Promise.all(targets.map(probe)).then((seen) => console.log(JSON.stringify(seen)));
`;

/** Each target is connected to about ten times a second. */
const REPEATER = `${ONCE}
const seen = new Set();
let [isOver, count] = [false, 0];
process.stdin.resume().on('end', () => { isOver = true; });
const repeat = async (target) => {
  while (!isOver) {
    seen.add(await once(target));
    count++;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
Promise.all(targets.map(repeat)).then(() => console.log(JSON.stringify({ count, seen: [...seen].sort() })));
`;
