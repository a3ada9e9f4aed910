// What the kernel tells about its rules the moment they change: `nft monitor`. Rules that iptables-nft writes are
// nf_tables rules as well, so it tells of both modes.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const READY_TIMEOUT_MS = 150_000;
const PROBE_MS = 1_000;

interface Waiter {
  readonly pattern: RegExp;
  readonly resolve: (atMs: number) => void;
}

export class KernelEvents implements AsyncDisposable {
  readonly #child: ChildProcess;
  #waiters: readonly Waiter[] = [];
  #stderr = '';

  constructor() {
    // It reads the ruleset once at its start, to have names for what it tells; -n keeps it from asking for names.
    this.#child = spawn('stdbuf', ['-oL', 'nft', '-nn', 'monitor'], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr = `${this.#stderr}${chunk}`.slice(-2_000);
    });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#take(line));
  }

  #take(line: string): void {
    const atMs = performance.now();
    const met = this.#waiters.filter((w) => w.pattern.test(line));
    if (met.length === 0) return;
    this.#waiters = this.#waiters.filter((w) => !met.includes(w));
    for (const w of met) w.resolve(atMs);
  }

  /** When the first line from now on that matches came, as `performance.now()`. @throws after `timeoutMs`. */
  async next(pattern: RegExp, timeoutMs = 30_000): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#waiters = [...this.#waiters, { pattern, resolve }];
    const why = () => new Error(`no kernel event ${pattern} within ${timeoutMs} ms; nft monitor: ${this.#stderr}`);
    const timer = setTimeout(() => reject(why()), timeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiters = this.#waiters.filter((w) => w.resolve !== resolve);
    }
  }

  /** Resolves once changes are told: the monitor reads the whole ruleset first. Makes and removes a table for that. */
  async ready(signal: AbortSignal): Promise<void> {
    const told = this.next(/add table ip6 bench-probe/, READY_TIMEOUT_MS);
    let isTold = false;
    told.then(
      () => {
        isTold = true;
      },
      () => {},
    );
    for (let waitMs = PROBE_MS; !isTold; waitMs *= 2) {
      signal.throwIfAborted();
      // Ever more rarely: a change while it reads makes it start over.
      for (const verb of ['add', 'delete']) await run('nft', [verb, 'table', 'ip6', 'bench-probe']);
      await Promise.race([told, sleep(waitMs)]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }
}
