// A real Prometheus and its promtool from Debian's package, scraping one node as an operator's would: each endpoint with
// a client certificate, told apart by `metrics_path`.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import { systemClock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import { systemExec } from '../../host/exec.ts';
import { freePort } from './cluster.ts';
import { fetchDebianPackage } from './debian-packages.ts';

export interface PrometheusPrograms {
  readonly prometheus: string;
  readonly promtool: string;
}

/** The programs, or why they cannot be had. */
export async function findPrometheus(): Promise<PrometheusPrograms | { readonly missing: string }> {
  try {
    const bin = path.join(await fetchDebianPackage('bookworm', 'prometheus'), 'usr/bin');
    const programs = { prometheus: path.join(bin, 'prometheus'), promtool: path.join(bin, 'promtool') };
    const { code, stderr } = await systemExec(programs.promtool, ['--version']);
    return code === 0 ? programs : { missing: `promtool does not run: ${stderr}` };
  } catch (err) {
    return { missing: errorMessage(err) };
  }
}

/** What promtool has against the text: one line each, of its linter; none when all is well. @throws when it cannot be read. */
export async function checkMetrics({ promtool }: PrometheusPrograms, text: string): Promise<string[]> {
  const { code, stdout, stderr } = await systemExec(promtool, ['check', 'metrics'], { input: text });
  if (code !== 0 && code !== 3) throw new Error(`promtool check metrics: exit ${code}\n${stdout}${stderr}`);
  return `${stdout}${stderr}`.split('\n').filter((line) => line !== '');
}

const PATHS = ['/metrics', '/metrics/cadvisor', '/metrics/resource', '/metrics/probes'];
const READY_MS = 60_000;
const ASK_AGAIN_MS = 500;

export class TestPrometheus implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #url: string;
  #log = '';

  private constructor(process: ChildProcess, url: string) {
    this.#process = process;
    this.#url = url;
    process.stderr?.on('data', (chunk: Buffer) => {
      this.#log = `${this.#log}${chunk.toString()}`.slice(-10_000);
    });
  }

  /** Scrapes `https://<target>` with the credentials of the kubeconfig; everything it writes goes below `dir`. */
  static async start(
    { prometheus }: PrometheusPrograms,
    opts: { readonly dir: string; readonly target: string; readonly kubeconfig: string },
  ): Promise<TestPrometheus> {
    const dir = path.join(opts.dir, 'prometheus');
    await mkdir(dir, { recursive: true });
    const config = path.join(dir, 'prometheus.yml');
    await writeFile(config, JSON.stringify(await configuration(dir, opts)));
    const listen = `127.0.0.1:${await freePort()}`;
    const args = [`--config.file=${config}`, `--storage.tsdb.path=${dir}/data`, `--web.listen-address=${listen}`];
    const child = spawn(prometheus, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: dir });
    const started = new TestPrometheus(child, `http://${listen}`);
    await started.#until('it is ready', async () => (await fetch(`${started.#url}/-/ready`)).ok);
    return started;
  }

  /** Number of series that the query finds, once there are any. @throws when there are none for long. */
  async untilFound(query: string): Promise<number> {
    let found = 0;
    await this.#until(`${query} finds something`, async () => {
      const answer = await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(query)}`);
      const body = (await answer.json()) as { status: string; error?: string; data?: { result: unknown[] } };
      if (body.status !== 'success') throw new Error(`${query}: ${body.error}`);
      found = body.data?.result.length ?? 0;
      return found > 0;
    });
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL'); // its data are thrown away
    await ended;
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const endMs = Date.now() + READY_MS;
    let why: unknown;
    while (Date.now() < endMs) {
      try {
        if (await isSo()) return;
      } catch (err) {
        why = err;
      }
      await systemClock.sleep(ASK_AGAIN_MS);
    }
    throw new Error(`Prometheus: not so that ${what}; ${errorMessage(why)}\n${this.#log}`);
  }
}

async function configuration(dir: string, { target, kubeconfig }: { target: string; kubeconfig: string }) {
  const { users } = parse(await readFile(kubeconfig, 'utf8')) as {
    users: { user: { 'client-certificate-data': string; 'client-key-data': string } }[];
  };
  const { user } = users[0]!;
  const [cert, key] = [path.join(dir, 'client.crt'), path.join(dir, 'client.key')];
  await writeFile(cert, Buffer.from(user['client-certificate-data'], 'base64'));
  await writeFile(key, Buffer.from(user['client-key-data'], 'base64'), { mode: 0o600 });
  return {
    global: { scrape_interval: '3s', scrape_timeout: '3s' },
    scrape_configs: PATHS.map((metrics_path) => ({
      job_name: `kubelet${metrics_path}`,
      metrics_path,
      scheme: 'https',
      tls_config: { cert_file: cert, key_file: key, insecure_skip_verify: true },
      static_configs: [{ targets: [target], labels: { job: 'kubelet', metrics_path } }],
    })),
  };
}
