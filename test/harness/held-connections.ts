// TCP connections that stay open and are used all the while: each sends a number, and the next one once the other end has
// sent it back.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Family } from './service-matrix.ts';

export interface HeldReport {
  /** Numbers that came back, over all connections. */
  readonly exchanges: number;
  /** What became of connections that did not stay open and answer, one line each. */
  readonly broken: readonly string[];
}

const READY_MS = 60_000;

export class HeldConnections implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #out = '';
  #wake: () => void = () => {};

  private constructor(netns: string, targets: readonly { ip: string; port: number }[], family: Family) {
    const args = ['netns', 'exec', netns, process.execPath, '-e', HOLDER, JSON.stringify(targets), String(family)];
    this.#child = spawn('ip', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin!.on('error', () => {}); // it has ended, which its exit code tells
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#out += text;
      this.#wake();
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        resolve(code);
        this.#wake();
      });
    });
  }

  /** Resolves when all are open and have been answered once. @throws when one of them cannot be opened. */
  static async open(
    netns: string,
    targets: readonly { ip: string; port: number }[],
    family: Family,
  ): Promise<HeldConnections> {
    const held = new HeldConnections(netns, targets, family);
    await held.#until(() => held.#out.includes('open\n'));
    return held;
  }

  /** Asks each for one more answer, and closes them. */
  async close(): Promise<HeldReport> {
    this.#child.stdin!.end();
    const code = await this.#ended;
    if (code !== 0) throw new Error(`who holds the connections ended with ${code}: ${this.#out}`);
    return JSON.parse(this.#out.slice(this.#out.indexOf('{'))) as HeldReport;
  }

  async #until(isTrue: () => boolean): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), READY_MS);
    try {
      while (!isTrue()) {
        if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
          throw new Error(`connections could not be opened: ${this.#out}`);
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

const HOLDER = `
const net = require('net');
const [targets, family] = [JSON.parse(process.argv[1]), Number(process.argv[2])];
const broken = [];
let exchanges = 0, opened = 0, ending = false;
const held = targets.map(({ ip, port }) => {
  const c = { name: ip + ':' + port, sent: 0, answered: true, isOver: false, text: '', socket: net.connect({ host: ip, port, family }) };
  const end = (why) => {
    if (c.isOver || ending) return;
    c.isOver = true;
    broken.push(c.name + ' ' + why + ' after ' + c.sent);
    if (opened < targets.length) process.exit(1);
  };
  c.socket.on('data', (chunk) => {
    c.text += chunk;
    for (let i; (i = c.text.indexOf('\\n')) >= 0; c.text = c.text.slice(i + 1)) {
      if (c.text.slice(0, i) !== String(c.sent)) continue;
      c.answered = true;
      exchanges++;
      if (c.sent === 1 && ++opened === targets.length) console.log('open');
    }
  });
  c.socket.on('error', (err) => end(err.code));
  c.socket.on('close', () => end('closed'));
  return c;
});
const turn = () => {
  for (const c of held) {
    if (!c.answered || c.isOver) continue;
    c.answered = false;
    c.socket.write(++c.sent + '\\n');
  }
};
turn();
const turns = setInterval(turn, 100);
process.stdin.resume().on('end', () => {
  clearInterval(turns);
  turn();
  const giveUpAt = Date.now() + 30000;
  const waiting = setInterval(() => {
    const silent = held.filter((c) => !c.answered && !c.isOver);
    if (silent.length > 0 && Date.now() < giveUpAt) return;
    clearInterval(waiting);
    ending = true;
    broken.push(...silent.map((c) => c.name + ' silent after ' + c.sent));
    for (const c of held) c.socket.destroy();
    console.log(JSON.stringify({ exchanges, broken }));
  }, 20);
});
`;
