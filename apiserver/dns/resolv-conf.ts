// The name servers that this machine uses itself.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';

const RESOLV_CONF = '/etc/resolv.conf';
/** What stands behind systemd-resolved's stub. */
const RESOLVED_CONF = '/run/systemd/resolve/resolv.conf';
const RESOLVED_STUB = '127.0.0.53';
/** A laptop changes networks; reading a small file twice a minute is nothing. */
const REREAD_MS = 30_000;
/** As many as glibc heeds. */
const MAX_SERVERS = 3;

export function parseNameservers(text: string): string[] {
  const servers = [...text.matchAll(/^[ \t]*nameserver[ \t]+([^\s%#;]+)/gm)].map((match) => match[1]!);
  return servers.filter((server) => isIP(server) !== 0).slice(0, MAX_SERVERS);
}

/** Addresses of upstream servers, read again from time to time; none when there is no file to read. */
export class HostNameservers {
  readonly #clock: Clock;
  readonly #read: (file: string) => Promise<string>;
  #servers: Promise<readonly string[]> | undefined;
  #readAtMs = 0;

  constructor(clock: Clock, read: (file: string) => Promise<string> = (file) => readFile(file, 'utf8')) {
    this.#clock = clock;
    this.#read = read;
  }

  list(): Promise<readonly string[]> {
    const nowMs = this.#clock.monotonicMs();
    if (this.#servers === undefined || nowMs - this.#readAtMs >= REREAD_MS) {
      this.#readAtMs = nowMs;
      this.#servers = this.#load();
    }
    return this.#servers;
  }

  async #load(): Promise<readonly string[]> {
    const servers = await this.#parse(RESOLV_CONF);
    if (!servers.includes(RESOLVED_STUB)) return servers;
    const behind = await this.#parse(RESOLVED_CONF);
    return behind.length > 0 ? behind : servers;
  }

  async #parse(file: string): Promise<string[]> {
    try {
      return parseNameservers(await this.#read(file));
    } catch {
      return []; // no such file: names outside the cluster cannot be resolved, and each such query says so
    }
  }
}
