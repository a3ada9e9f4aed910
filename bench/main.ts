// `npm run bench -- NAME [options]`: one module per benchmark, loaded when it is asked for.
import { Command } from 'commander';
import { stopSignal } from '../cmd/signals.ts';
import { podStart } from './pod-start.ts';

const program = new Command('bench').description(
  'Measures a lab of its own, prints a table and appends one line to bench/results/. Needs root and containerd.',
);
/** A benchmark whose figures are kept. */
const saved = (name: string): Command => program.command(name).option('--no-save', 'do not append to bench/results/');
/** One that needs a whole node. */
const onLab = (name: string): Command =>
  saved(name)
    .option('--dir <dir>', 'directory of the lab', '/tmp/nodelet-bench')
    .option('--port <port>', 'port of the API server', Number, 6443);

onLab('pod-start')
  .description('Pod start and end through API server and agent, against the same CRI calls made directly.')
  .option('--pods <n>', 'pods one after the other, per variant', Number, 20)
  .option('--burst <n>', 'pods at once', Number, 40)
  .option('--bursts <n>', 'how many bursts', Number, 3)
  .option('--resident <n>', 'pods for the figures of memory and idle CPU', Number, 60)
  .option('--idle-seconds <n>', 'how long CPU time is watched', Number, 30)
  .option('--trace', 'print each sample')
  .action((options) => podStart(options, stopSignal()));

saved('probes')
  .description('CPU time and punctuality of probing, against the same connections and calls made by a plain loop.')
  .option('--pods <n>', 'pods with an HTTP, a TCP and an exec probe each', Number, 110)
  .option('--seconds <n>', 'length of each measurement', Number, 30)
  .option('--rounds <n>', 'measurements of floor and agent in turns', Number, 3)
  .option('--profile <dir>', 'write a CPU profile of the probing process')
  .action(async (options) => (await import('./probes.ts')).probes(options, stopSignal()));

onLab('idle')
  .description('Requests, runtime calls, disk writes, CPU time and memory of an agent whose pods do nothing.')
  .option('--pods <n>', 'idle pods', Number, 60)
  .option('--seconds <n>', 'how long to watch', Number, 120)
  .option('--settle-seconds <n>', 'from the last pod being Ready until then', Number, 20)
  .action(async (options) => (await import('./idle.ts')).idle(options, stopSignal()));

onLab('soak')
  .description('Pods that come and go for a long time: what grows in the agent, and what stays when all have gone.')
  .option('--pods <n>', 'pods at any time', Number, 110)
  .option('--rate <n>', 'pods replaced per second', Number, 2)
  .option('--minutes <n>', 'how long', Number, 20)
  .option('--warm-minutes <n>', 'growth counts from then on', Number, 5)
  .option('--trace', 'print each sample')
  .action(async (options) => (await import('./soak.ts')).soak(options, stopSignal()));

program
  .command('scrape')
  .description('Event-loop time of one scrape of all endpoints, over cgroups made for it.')
  .option('--pods <n>', 'pods of one container', Number, 110)
  .option('--rounds <n>', 'scrapes', Number, 5)
  .action(async (options) => (await import('./scrape.ts')).scrape(options, stopSignal()));

saved('service-sync')
  .description(
    'From a change of Services to the rules in the kernel, against the tool alone, in a namespace of its own.',
  )
  .option('--services <n>', 'Services', Number, 5_000)
  .option('--endpoints <n>', 'endpoints of each', Number, 5)
  .option('--mode <mode>', 'iptables or nftables (default both, one after the other)')
  .option('--changes <n>', 'changes of each kind', Number, 20)
  .option('--pause-ms <ms>', 'between two changes', Number, 1_500)
  .option('--gap-ms <ms>', "between a Service's write and its slice's", Number, 5)
  .option('--flag <flag>', 'further flag of the proxy, may be given again', collect, [])
  .option('--no-floor', 'leave the tool alone out')
  .option('--trace', 'print each sample')
  .action(async (options) => (await import('./service-sync.ts')).serviceSync(options, stopSignal()));

saved('service-dataplane')
  .description('Connections through the first and the last of many Services, against a direct one, in namespaces.')
  .option('--services <n>', 'Services', Number, 5_000)
  .option('--endpoints <n>', 'endpoints of each', Number, 5)
  .option('--mode <mode>', 'iptables or nftables (default both, one after the other)')
  .option('--rounds <n>', 'measurements of each way, in turns', Number, 3)
  .option('--connections <n>', 'one after the other, in each round', Number, 1_000)
  .option('--burst-ms <ms>', 'how long as many connections as possible are made, in each round', Number, 3_000)
  .action(async (options) => (await import('./service-dataplane.ts')).serviceDataplane(options, stopSignal()));

await program.parseAsync();

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}
