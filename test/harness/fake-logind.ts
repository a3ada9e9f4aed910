// systemd-logind as the agent meets it, on a bus of the suite's own. The lock itself is a program of the suite's: a file
// is there as long as it is held (logind hands out file descriptors, which nothing here can send).
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { DBusMessage } from './dbus-message.ts';
import { DBusService } from './dbus-service.ts';

const LOGIN = '/org/freedesktop/login1';
const MANAGER = 'org.freedesktop.login1.Manager';

/** Why there can be none; undefined when there can. */
export function logindMissing(): string | undefined {
  return existsSync('/usr/bin/dbus-daemon') ? undefined : 'there is no dbus-daemon (package dbus)';
}

export class FakeLogind implements AsyncDisposable {
  /** For DBUS_SYSTEM_BUS_ADDRESS. */
  readonly address: string;
  readonly dir: string;
  /** What it holds up a shutdown at most, s. */
  delaySeconds = 3600;
  preparing = false;
  /** Member and values of the calls that came, in order. */
  readonly calls: (readonly [string, ...unknown[]])[] = [];
  /** Called when a unit gets a signal. */
  onKill: () => void = () => {};
  readonly #stop: () => Promise<void>;
  #bus!: DBusService;

  private constructor(dir: string, address: string, stop: () => Promise<void>) {
    this.dir = dir;
    this.address = address;
    this.#stop = stop;
  }

  /** `dir` must exist and be empty. */
  static async start(dir: string): Promise<FakeLogind> {
    const address = `unix:path=${path.join(dir, 'bus')}`;
    const args = ['--session', '--nofork', '--nopidfile', '--nosyslog', '--print-address=1', `--address=${address}`];
    const daemon = spawn('dbus-daemon', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = new Promise<void>((resolve) => daemon.once('close', () => resolve()));
    const stop = async () => {
      daemon.kill('SIGKILL');
      await ended;
    };
    const logind = new FakeLogind(dir, address, stop);
    try {
      await firstLine(daemon.stdout, ended);
      logind.#bus = await DBusService.open(path.join(dir, 'bus'), (message) => logind.#answer(message));
      await logind.#bus.requestName('org.freedesktop.login1');
      await logind.#bus.requestName('org.freedesktop.systemd1');
      await logind.#writeInhibit();
      return logind;
    } catch (err) {
      await stop();
      throw err;
    }
  }

  /** Holds the lock while its input is open; also on PATH as systemd-inhibit in `bin`. */
  get lockProgram(): string {
    return path.join(this.bin, 'systemd-inhibit');
  }

  get bin(): string {
    return path.join(this.dir, 'bin');
  }

  async isHeld(): Promise<boolean> {
    return await access(path.join(this.dir, 'held')).then(
      () => true,
      () => false,
    );
  }

  /** Announces a shutdown, or that there is none after all. */
  prepareForShutdown(active: boolean): void {
    this.preparing = active;
    const body = [active];
    this.#bus.send({
      type: 'signal',
      path: LOGIN,
      interface: MANAGER,
      member: 'PrepareForShutdown',
      signature: 'b',
      body,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#bus[Symbol.dispose]();
    await this.#stop();
  }

  async #writeInhibit(): Promise<void> {
    await mkdir(this.bin);
    const held = path.join(this.dir, 'held');
    // The real one runs the command that follows its options, and lets go when that has ended.
    const script = `#!/bin/sh\ntouch ${held}\necho held\ncat >/dev/null\nrm -f ${held}\n`;
    await writeFile(this.lockProgram, script, { mode: 0o755 });
  }

  #answer({ type, serial, sender, member, signature, body = [] }: DBusMessage): void {
    if (type !== 'call') return; // e.g. that we own our names now
    this.calls.push([member ?? '', ...body]);
    const reply = { type: 'return' as const, replySerial: serial, destination: sender ?? '' };
    if (member === 'KillUnit' && signature === 'ssi') {
      this.onKill();
      this.#bus.send(reply);
    } else if (member === 'Get' && body[1] === 'InhibitDelayMaxUSec') {
      const value = { signature: 't', value: BigInt(this.delaySeconds) * 1_000_000n };
      this.#bus.send({ ...reply, signature: 'v', body: [value] });
    } else if (member === 'Get' && body[1] === 'PreparingForShutdown') {
      this.#bus.send({ ...reply, signature: 'v', body: [{ signature: 'b', value: this.preparing }] });
    } else {
      const errorName = 'org.freedesktop.DBus.Error.UnknownMethod';
      this.#bus.send({ ...reply, type: 'error', errorName, signature: 's', body: [`no method ${member}`] });
    }
  }
}

async function firstLine(output: NodeJS.ReadableStream, ended: Promise<void>): Promise<void> {
  const lines = createInterface(output);
  await Promise.race([
    new Promise<void>((resolve) => lines.once('line', () => resolve())),
    ended.then(() => Promise.reject(new Error('dbus-daemon ended'))),
  ]);
}
