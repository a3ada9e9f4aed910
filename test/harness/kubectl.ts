// Real kubectl, in the versions that users have: run to its end, or followed line by line while it goes on.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import path from 'node:path';
import { type ExecOptions, type ExecResult, systemExec } from '../../host/exec.ts';
import { type DebianSuite, fetchDebianPackage } from './debian-packages.ts';
import { ObjectVersions } from './object-version.ts';

export type KubectlVersion = '1.20' | '1.32' | '1.36';
export const KUBECTL_VERSIONS: readonly KubectlVersion[] = ['1.20', '1.32', '1.36'];

const PACKAGES: Readonly<Record<KubectlVersion, readonly [DebianSuite, string]>> = {
  '1.20': ['bookworm', 'kubernetes-client'],
  '1.32': ['trixie', 'kubectl'],
  '1.36': ['sid', 'kubectl'],
};
const COMMAND_MS = 150_000;
/** Most runs are short: a fifth of their processor time would go into collecting garbage that the end collects anyway. */
const GO_MEMORY: NodeJS.ProcessEnv = { GOGC: 'off', GOMEMLIMIT: '200MiB' };

/** The program, or why it cannot be had: for `describe.skipIf`. */
export async function findKubectl(version: KubectlVersion): Promise<{ program: string } | { missing: string }> {
  const [suite, name] = PACKAGES[version];
  try {
    const program = path.join(await fetchDebianPackage(suite, name), 'usr/bin/kubectl');
    const { stdout } = await systemExec(program, ['version', '--client', '-o', 'json']);
    if (stdout.includes(`"gitVersion": "v${version}.`)) return { program };
    return { missing: `Debian's ${name} of ${suite} is not kubectl ${version}` };
  } catch (err) {
    return { missing: (err as Error).message };
  }
}

/** One kubectl against one cluster. */
export class Kubectl {
  readonly #program: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #first: readonly string[];
  readonly #namespace: string | undefined;
  readonly #versions: ObjectVersions;

  /** `home` holds kubectl's discovery cache, which must not be shared with another cluster at the same address. */
  constructor(
    program: string,
    kubeconfig: string,
    home: string,
    more: { readonly namespace?: string; readonly versions?: ObjectVersions } = {},
  ) {
    const { namespace, versions = new ObjectVersions(kubeconfig) } = more;
    this.#program = program;
    this.#namespace = namespace;
    this.#versions = versions;
    this.#env = { ...GO_MEMORY, PATH: process.env.PATH, KUBECONFIG: kubeconfig, HOME: home, TZ: 'UTC' };
    this.#first = namespace === undefined ? [] : [`--namespace=${namespace}`];
  }

  /** The same kubectl, in another namespace. */
  in(namespace: string): Kubectl {
    const more = { namespace, versions: this.#versions };
    return new Kubectl(this.#program, this.#env.KUBECONFIG!, this.#env.HOME!, more);
  }

  /** Whatever the exit code. `env` is added to what kubectl gets anyway. */
  async result(args: readonly string[], opts: ExecOptions = {}): Promise<ExecResult> {
    return await systemExec(this.#program, [...this.#first, ...args], {
      timeoutMs: COMMAND_MS,
      ...opts,
      env: { ...this.#env, ...opts.env },
    });
  }

  /** Standard output. @throws with all that kubectl said when its exit code is not 0. */
  async run(...args: string[]): Promise<string> {
    return await this.runWith({}, ...args);
  }

  async runWith(opts: ExecOptions, ...args: string[]): Promise<string> {
    const r = await this.result(args, opts);
    if (r.code !== 0) throw new Error(`kubectl ${args.join(' ')}: exit ${r.code}\n${r.stderr}${r.stdout}`);
    return r.stdout;
  }

  /** Standard error of a command that must fail with exit code 1. */
  async refused(input: string | undefined, ...args: string[]): Promise<string> {
    const r = await this.result(args, input === undefined ? {} : { input });
    if (r.code !== 1) throw new Error(`kubectl ${args.join(' ')}: exit ${r.code} instead of 1\n${r.stderr}${r.stdout}`);
    return r.stderr;
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.run(...args, '-o', 'json')) as T;
  }

  /** Creates or changes what the manifest says. */
  async apply(manifest: object | string): Promise<string> {
    const input = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    return await this.runWith({ input }, 'apply', '-f', '-');
  }

  /**
   * Waits until `jsonpath` of one object matches. Asked after each change: `kubectl get NAME --watch` swallows the first
   * event of its watch, and with it a change between its GET and that watch. @throws after `timeoutMs`
   */
  async until(object: string, jsonpath: string, pattern: RegExp, timeoutMs = COMMAND_MS): Promise<string> {
    const endMs = Date.now() + timeoutMs;
    for (;;) {
      const version = await this.#versions.of(object, this.#namespace);
      const { stdout } = await this.result(['get', object, '-o', `jsonpath=${jsonpath}`]);
      if (pattern.test(stdout)) return stdout;
      if (Date.now() > endMs) {
        const now = await this.result(['get', object, '-o', 'yaml']);
        throw new Error(`${object} ${jsonpath}: ${pattern}, not within ${timeoutMs} ms\nNow it is:\n${now.stdout}`);
      }
      await this.#versions.untilOther(object, version, this.#namespace);
    }
  }

  /** Lets go of what `until` used. */
  async close(): Promise<void> {
    await this.#versions.close();
  }

  follow(...args: string[]): Followed {
    return new Followed(
      spawn(this.#program, [...this.#first, ...args], { env: this.#env }),
      `kubectl ${args.join(' ')}`,
    );
  }

  /** Like `follow`, on a pseudo-terminal: what a person at a keyboard gets. */
  followOnTerminal(...args: string[]): Followed {
    const command = [this.#program, ...this.#first, ...args].map((a) => `'${a.replaceAll("'", `'\\''`)}'`).join(' ');
    const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], { env: this.#env });
    return new Followed(child, command);
  }
}

/** A program that goes on until it is stopped; its lines are kept, and can be waited for. */
export class Followed implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #name: string;
  readonly #closed: Promise<number | null>;
  #out = '';
  #err = '';
  #ended = false;
  #wake: () => void = () => {};

  constructor(child: ChildProcessWithoutNullStreams, name: string) {
    this.#child = child;
    this.#name = name;
    child.stdin.on('error', () => {}); // EPIPE: it has ended, which its exit code tells
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#out += text;
      this.#wake();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#err += text;
      this.#wake();
    });
    this.#closed = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        this.#ended = true;
        this.#wake();
        resolve(code);
      });
    });
  }

  get output(): string {
    return this.#out;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Complete lines of standard output so far. */
  get lines(): string[] {
    return this.#out.split('\n').slice(0, -1);
  }

  write(text: string): void {
    this.#child.stdin.write(text);
  }

  endInput(): void {
    this.#child.stdin.end();
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** The first complete line that matches, of those that came already or come yet. @throws at its end or after `timeoutMs`. */
  async untilLine(pattern: RegExp, timeoutMs = COMMAND_MS): Promise<string> {
    return await this.until(() => this.lines.find((line) => pattern.test(line)), String(pattern), timeoutMs);
  }

  /** Waits until `found` says so; it is asked after each piece of output. */
  async until<T>(found: () => T | undefined, what: string, timeoutMs = COMMAND_MS): Promise<T> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, timeoutMs);
    try {
      for (;;) {
        const result = found();
        if (result !== undefined) return result;
        if (late || this.#ended) {
          const why = late ? `not within ${timeoutMs} ms` : 'and it ended';
          throw new Error(`${this.#name}: ${what}, ${why}\n${this.#out.slice(-4000)}${this.#err.slice(-4000)}`);
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Exit code and standard error; null when a signal ended it. */
  async ended(): Promise<{ readonly code: number | null; readonly stderr: string }> {
    return { code: await this.#closed, stderr: this.#err };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#closed;
  }
}
