// Pods that come and go for a long time on a full node: whether the agent's memory grows, and whether it leaves files
// open, mounts, cgroups or timers behind once all of them have gone.
import { setTimeout as sleep } from 'node:timers/promises';
import { NODE } from './pod-start/bench-lab.ts';
import { benchPod, createPod, deletePod } from './pod-start/system.ts';
import { appendResult } from './results.ts';
import { type Held, readHeld } from './soak/held.ts';
import { type Stand, withStand } from './stand.ts';
import { formatTable } from './stats.ts';

export interface SoakOptions {
  readonly dir: string;
  readonly port: number;
  readonly pods: number;
  readonly rate: number;
  readonly minutes: number;
  readonly warmMinutes: number;
  readonly save: boolean;
  readonly trace?: boolean;
}

/** Between two looks at the agent, ms. */
const SAMPLE_MS = 15_000;
/** From the last pod being gone until what is left counts as leaked, ms: volumes and sandboxes go after the object. */
const SETTLE_MS = 20_000;

/** @throws what a part of the lab throws; the lab is taken down in any case. */
export async function soak(opts: SoakOptions, signal: AbortSignal): Promise<void> {
  await withStand(opts, signal, async (stand) => {
    const result = { options: shown(opts), ...(await run(opts, stand)) };
    console.log(table(result));
    if (opts.save) stand.note(`appended to ${await appendResult('soak', result)}`);
  });
}

interface Soaked {
  /** Before the first pod, and when the last one had gone. */
  readonly empty: Held;
  readonly after: Held;
  /** Mean of the looks in the first minute after the warm-up, and in the last one. */
  readonly warm: Held;
  readonly end: Held;
  readonly replaced: number;
}

async function run(opts: SoakOptions, stand: Stand): Promise<Soaked> {
  const { lab, client, watcher, note, signal } = stand;
  // One pod first: what the agent opens once, for good, is no leak.
  await createPod(client, watcher, benchPod('first', NODE));
  await deletePod(client, watcher, 'first');
  await sleep(SETTLE_MS, undefined, { signal });
  const empty = await readHeld(lab, client);
  note(`starting ${opts.pods} pods …`);
  const names = Array.from({ length: opts.pods }, (_, i) => `soak-${i}`);
  await Promise.all(names.map((name) => createPod(client, watcher, benchPod(name, NODE))));
  note(`replacing ${opts.rate} a second for ${opts.minutes} minutes …`);
  const samples: Held[] = [];
  const churning = new AbortController();
  const churn = replacePods(opts, stand, names, AbortSignal.any([signal, churning.signal]));
  const endMs = performance.now() + opts.minutes * 60_000;
  while (performance.now() < endMs) {
    await Promise.race([sleep(SAMPLE_MS, undefined, { signal }), churn]); // which ends early by failing alone
    samples.push(await readHeld(lab, client));
    if (opts.trace) note(JSON.stringify(samples.at(-1)));
  }
  churning.abort();
  const replaced = await churn;
  await Promise.all(names.map((name) => deletePod(client, watcher, name)));
  await sleep(SETTLE_MS, undefined, { signal });
  const after = await readHeld(lab, client);
  const perMinute = 60_000 / SAMPLE_MS;
  const warmed = samples.slice(Math.min(opts.warmMinutes * perMinute, samples.length - 1));
  return { empty, after, warm: mean(warmed.slice(0, perMinute)), end: mean(warmed.slice(-perMinute)), replaced };
}

/** Keeps `names` up to date. Each place is worked on by one replacement at a time. Returns how many there were. */
async function replacePods(
  opts: SoakOptions,
  { client, watcher }: Stand,
  names: string[],
  signal: AbortSignal,
): Promise<number> {
  const under: (Promise<void> | undefined)[] = [];
  let replaced = 0;
  const replace = async (place: number, name: string): Promise<void> => {
    await deletePod(client, watcher, names[place]!);
    await createPod(client, watcher, benchPod(name, NODE));
    names[place] = name;
  };
  for (; !signal.aborted; replaced++) {
    const place = replaced % names.length;
    await under[place];
    under[place] = replace(place, `soak-${names.length + replaced}`);
    under[place].catch(() => {}); // thrown when it is waited for
    await sleep(1000 / opts.rate, undefined, { signal }).catch(() => {});
  }
  await Promise.all(under);
  return replaced;
}

function mean(samples: readonly Held[]): Held {
  const of = (key: keyof Held) => samples.reduce((sum, s) => sum + s[key], 0) / samples.length;
  return {
    rssMB: of('rssMB'),
    files: of('files'),
    mounts: of('mounts'),
    cgroups: of('cgroups'),
    timers: of('timers'),
    loopP99Ms: of('loopP99Ms'),
  };
}

function shown({ pods, rate, minutes, warmMinutes }: SoakOptions) {
  return { pods, rate, minutes, warmMinutes };
}

function table(r: Soaked & { readonly options: ReturnType<typeof shown> }): string {
  const row = (label: string, key: keyof Held, digits = 0): string[] => [
    label,
    ...[r.empty, r.warm, r.end, r.after].map((held) => held[key].toFixed(digits)),
  ];
  const growth = (r.end.rssMB / r.warm.rssMB - 1) * 100;
  const text = formatTable([
    [`${r.options.pods} pods, ${r.replaced} replaced`, 'empty', 'warm', 'at the end', 'empty again'],
    row('RSS, MB', 'rssMB', 1),
    row('open files', 'files'),
    row('mounts', 'mounts'),
    row('cgroups', 'cgroups'),
    row('timers', 'timers'),
    row('event loop delay, p99, ms', 'loopP99Ms', 1),
  ]);
  return `${text}\nRSS grew by ${growth.toFixed(1)} % after the first ${r.options.warmMinutes} minutes.`;
}
