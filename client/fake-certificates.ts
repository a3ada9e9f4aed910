// A certificate authority for tests, made with the openssl command: server certificates for the loopback address,
// client certificates for users.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export class FakeAuthority implements AsyncDisposable {
  readonly caPem: string;
  readonly #dir: string;
  #issued = 0;

  private constructor(dir: string, caPem: string) {
    this.#dir = dir;
    this.caPem = caPem;
  }

  /** Dispose it: its key lies in a temporary directory. */
  static async create(): Promise<FakeAuthority> {
    const dir = await mkdtemp(path.join(tmpdir(), 'fake-ca-'));
    const out = ['-keyout', path.join(dir, 'ca.key'), '-out', path.join(dir, 'ca.crt')];
    await run('openssl', ['req', '-x509', ...NEW_KEY, ...out, '-subj', '/CN=test-ca', '-days', '2']);
    return new FakeAuthority(dir, await readFile(path.join(dir, 'ca.crt'), 'utf8'));
  }

  /** For a server on 127.0.0.1 or, when names are given, for these only. */
  async server(dnsNames: readonly string[] = []): Promise<KeyPair> {
    const names = dnsNames.length === 0 ? 'IP:127.0.0.1,DNS:localhost' : dnsNames.map((n) => `DNS:${n}`).join(',');
    return this.#issue('/CN=server', `subjectAltName=${names}\nextendedKeyUsage=serverAuth\n`);
  }

  async client(user: string, group = 'system:nodes'): Promise<KeyPair> {
    return this.#issue(`/O=${group}/CN=${user}`, 'extendedKeyUsage=clientAuth\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #issue(subject: string, extensions: string): Promise<KeyPair> {
    const file = path.join(this.#dir, String(this.#issued++));
    await writeFile(`${file}.ext`, extensions);
    await run('openssl', [
      'req',
      '-new',
      ...NEW_KEY,
      '-keyout',
      `${file}.key`,
      '-out',
      `${file}.csr`,
      '-subj',
      subject,
    ]);
    const ca = ['-CA', path.join(this.#dir, 'ca.crt'), '-CAkey', path.join(this.#dir, 'ca.key'), '-CAcreateserial'];
    const sign = [
      'x509',
      '-req',
      '-in',
      `${file}.csr`,
      ...ca,
      '-out',
      `${file}.crt`,
      '-days',
      '2',
      '-extfile',
      `${file}.ext`,
    ];
    await run('openssl', sign);
    return { cert: await readFile(`${file}.crt`, 'utf8'), key: await readFile(`${file}.key`, 'utf8') };
  }
}
