// The measured process, in one of two ways: `prober`, the agent's own probing, or `floor`, the same connections,
// requests and calls made by a loop that knows nothing of pods. Sends its figures to the parent and ends.
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod, PodStatus } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { connectRuntime } from '../../cri/remote-runtime.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { execThrough } from '../../kubelet/runtime/exec-in-container.ts';
import { createAttempt } from '../../probes/attempt.ts';
import { Prober } from '../../probes/prober.ts';
import type { TargetPorts } from './targets.ts';

export interface WorkOptions {
  readonly way: 'floor' | 'prober';
  readonly pods: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly criSocket: string;
  readonly ports: TargetPorts;
}

export interface WorkFigures {
  /** Of one core. */
  readonly cpuPercent: number;
  readonly attempts: number;
  readonly failures: number;
  /** How much later than its period each attempt began, ms; empty for the floor. */
  readonly lateMs: readonly number[];
}

interface Tally {
  attempts: number;
  failures: number;
  lateMs: number[];
}

/** In step with the prober's, so that wake-ups are shared as much: ms. */
const FLOOR_SLOT_MS = 25;
const PERIOD_MS = 1000;

async function work(opts: WorkOptions): Promise<WorkFigures> {
  const endpoint = `unix://${opts.criSocket}`;
  const { runtime, close } = connectRuntime({ endpoint, requestTimeoutMs: 10_000 }, () => {}, systemClock);
  const tally: Tally = { attempts: 0, failures: 0, lateMs: [] };
  const stop = new AbortController();
  const running =
    opts.way === 'floor' ? runFloor(opts, runtime, tally, stop.signal) : runProber(opts, runtime, tally, stop.signal);
  await sleep(opts.warmUpSeconds * 1000);
  Object.assign(tally, { attempts: 0, failures: 0, lateMs: [] });
  const before = process.cpuUsage();
  await sleep(opts.seconds * 1000);
  const used = process.cpuUsage(before);
  const figures = { ...tally, cpuPercent: (used.user + used.system) / opts.seconds / 10_000 };
  stop.abort();
  await running;
  close();
  return figures;
}

async function runProber(opts: WorkOptions, runtime: RuntimeService, tally: Tally, signal: AbortSignal): Promise<void> {
  const attempt = createAttempt(execThrough(runtime));
  const lastMs = new Map<object, number>();
  const prober = new Prober({
    attempt: (target, limit) => {
      const nowMs = performance.now();
      const last = lastMs.get(target.probe);
      if (last !== undefined) tally.lateMs.push(nowMs - last - PERIOD_MS);
      lastMs.set(target.probe, nowMs);
      tally.attempts++;
      return attempt(target, limit);
    },
    report: () => {
      tally.failures++;
    },
    clock: systemClock,
    log: silentLog,
  });
  const startedAt = new Date(Date.now() - 60_000).toISOString(); // as after a start of the agent under full load
  for (let i = 0; i < opts.pods; i++) {
    prober.addPod(benchPod(i, opts.ports));
    prober.updatePodStatus(`uid-${i}`, benchStatus(i, startedAt));
  }
  await prober.run(signal);
}

function benchPod(i: number, ports: TargetPorts): Pod {
  const common = { periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 3 };
  const containers = [
    {
      name: 'http',
      readinessProbe: { ...common, httpGet: { path: '/healthz', port: ports.http } },
      livenessProbe: { ...common, tcpSocket: { port: ports.tcp } },
    },
    { name: 'exec', livenessProbe: { ...common, exec: { command: ['cat', '/tmp/healthy'] } } },
  ].map((c) => ({ image: 'i', ...c }));
  return { metadata: { uid: `uid-${i}`, name: `pod-${i}`, namespace: 'default' }, spec: { containers } };
}

function benchStatus(i: number, startedAt: string): PodStatus {
  const status = (name: string) => ({
    name,
    image: 'i',
    imageID: '',
    ready: true,
    started: true,
    restartCount: 0,
    containerID: `containerd://${name}-${i}`,
    state: { running: { startedAt } },
  });
  return { phase: 'Running', podIP: '127.0.0.1', containerStatuses: [status('exec'), status('http')] };
}

async function runFloor(opts: WorkOptions, runtime: RuntimeService, tally: Tally, signal: AbortSignal): Promise<void> {
  const kinds = [
    () => getOnce(opts.ports.http),
    () => connectOnce(opts.ports.tcp),
    () => runtime.execSync('id', ['cat', '/tmp/healthy'], 1),
  ];
  const startMs = performance.now();
  let made = 0;
  const timer = setInterval(() => {
    const due = ((performance.now() - startMs) / PERIOD_MS) * opts.pods * 3;
    for (; made < due; made++) {
      tally.attempts++;
      void kinds[made % kinds.length]!().catch(() => tally.failures++);
    }
  }, FLOOR_SLOT_MS);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  clearInterval(timer);
}

function connectOnce(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
}

const REQUEST =
  'GET /healthz HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n';

function getOnce(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('data', (bytes) => {
      socket.destroy();
      if (bytes.toString('latin1', 9, 12) === '200') resolve();
      else reject(new Error('not 200'));
    });
    socket.write(REQUEST);
  });
}

const figures = await work(JSON.parse(process.argv[2]!) as WorkOptions);
process.send!(figures, () => process.disconnect?.());
