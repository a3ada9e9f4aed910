// Network namespaces for suites: unique names per run, so that suites can run side by side, and all gone at the end.
import { randomBytes } from 'node:crypto';
import type { Exec } from '../../host/exec.ts';
import { systemExec } from '../../host/exec.ts';
import { createNetns, execInNetns, removeNetns } from '../../host/netns.ts';
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
    await createNetns(systemExec, full);
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
    for (const name of this.#names.splice(0).reverse()) await removeNetns(systemExec, name);
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
