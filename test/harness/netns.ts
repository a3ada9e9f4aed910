// Network namespaces for suites: unique names per run, so that suites can run side by side, and all gone at the end.
import { randomBytes } from 'node:crypto';
import { type Exec, systemExec } from '../../host/exec.ts';
import { ipBatch } from '../../host/ip-batch.ts';
import { execInNetns } from '../../host/netns.ts';
import type { Sysctl } from '../../host/sysctl.ts';

export class TestNamespaces implements AsyncDisposable {
  readonly #prefix: string;
  readonly #names: string[] = [];

  constructor(suite: string) {
    this.#prefix = `t-${suite}-${randomBytes(3).toString('hex')}`;
  }

  /** Makes a namespace with `lo` up and returns its full name. */
  async create(name: string): Promise<string> {
    const full = `${this.#prefix}-${name}`;
    this.#names.push(full);
    await ipBatch(systemExec, [`netns add ${full}`]);
    await ipBatch(systemExec, ['link set lo up'], { netns: full });
    return full;
  }

  /** The full name of a namespace that `create` made. */
  named(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  exec(netns: string): Exec {
    return execInNetns(systemExec, netns);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Links inside go with a namespace. Processes inside do not: whoever started them has ended them.
    for (const name of this.#names.splice(0).reverse()) {
      const { code, stderr } = await systemExec('ip', ['netns', 'delete', name]);
      if (code !== 0 && !/No such file/.test(stderr)) throw new Error(`namespace ${name} stays: ${stderr}`);
    }
  }
}

/** Parameters of another namespace: `ip netns exec` shows its own net/ under /proc/sys. */
export function sysctlInNetns(netns: string): Sysctl {
  const exec = execInNetns(systemExec, netns);
  return {
    async read(name) {
      const r = await exec('cat', [`/proc/sys/${name}`]);
      return r.code === 0 ? r.stdout.trim() : undefined;
    },
    async set(name, value) {
      return (await exec('tee', [`/proc/sys/${name}`], { input: value })).code === 0;
    },
  };
}

export interface VethEnd {
  readonly netns: string;
  readonly device: string;
  /** With prefix length, e.g. `192.0.2.1/24`. */
  readonly address?: string;
  /** A bridge in the same namespace that the end is plugged into. */
  readonly master?: string;
}

/** A veth pair with both ends up. */
export async function createVeth(exec: Exec, a: VethEnd, b: VethEnd): Promise<void> {
  await ipBatch(exec, [`link add ${a.device} type veth peer name ${b.device} netns ${b.netns}`], { netns: a.netns });
  for (const end of [a, b]) {
    const lines = [`link set ${end.device}${end.master === undefined ? '' : ` master ${end.master}`} up`];
    if (end.address !== undefined) lines.unshift(`address add ${end.address} dev ${end.device}`);
    await ipBatch(exec, lines, { netns: end.netns });
  }
}

export async function createBridge(exec: Exec, netns: string, device: string, address?: string): Promise<void> {
  const lines = [`link add ${device} type bridge`, `link set ${device} up`];
  if (address !== undefined) lines.push(`address add ${address} dev ${device}`);
  await ipBatch(exec, lines, { netns });
}
