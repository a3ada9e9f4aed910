// `nodelet agent`: kubelet, service proxy and pod network in one process; and each of them alone, when it does not pay for
// the others: parts are imported when they are asked for.

import type { Command } from 'commander';
import type { Node } from '../api/kinds.ts';
import { checkCredentials } from '../client/credential-check.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { systemClock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import { createLogger, type Logger, levelOfVerbosity } from '../core/log.ts';
import { runTasks, type Task } from '../core/tasks.ts';
import { isNodeReady } from '../kubelet/node/node-status.ts';
import { type AgentContext, createContext } from './agent/shared.ts';
import type { AgentConfig, LogSettings } from './config/agent-config.ts';
import type { Which } from './config/flag-table.ts';
import { addAgentOptions, type FlagTexts } from './config/flags.ts';
import { parseAgentConfig, systemDeps } from './config/parse.ts';
import { addNetworkStatusCommand } from './network-status.ts';
import { addTraceCommand } from './proxy-trace.ts';
import { announceReady } from './ready.ts';
import { stopSignal } from './signals.ts';
import { upstreamVersion } from './version.ts';

const DESCRIPTIONS: Readonly<Record<Which, string>> = {
  agent: 'The node of a Kubernetes cluster: kubelet, service proxy and pod network in one daemon.',
  kubelet: "The kubelet part alone. Takes the kubelet's flags and configuration file.",
  proxy: 'The service proxy alone. Takes the flags and the configuration file of kube-proxy.',
  network: 'The pod network alone: what flanneld does, with its flags.',
};

const driver = () => import('./agent/cgroup-driver.ts');
const kubeletPart = () => import('./agent/kubelet-part.ts');
const networkPart = () => import('./agent/network-part.ts');
const utilChains = () => import('../kubelet/node/util-chains.ts');
const proxyPart = () => import('./agent/proxy-part.ts');
const rootDirPart = () => import('./agent/root-dir.ts');

export function addCommand(program: Command): void {
  for (const which of ['agent', 'kubelet', 'proxy', 'network'] as const) {
    const command = program.command(which).description(DESCRIPTIONS[which]);
    addAgentOptions(command, which);
    if (which === 'proxy') addTraceCommand(command);
    if (which === 'network') addNetworkStatusCommand(command);
    command.action(async (flags: FlagTexts) => {
      if (flags.version !== undefined && flags.version.at(-1) !== 'false') {
        console.log(upstreamVersion(flags.version.at(-1)!));
        return;
      }
      const { config, warnings } = await parseAgentConfig(which, flags, systemDeps);
      const log = await agentLogger(config.logging);
      for (const warning of warnings) log.warn(warning);
      if (process.getuid?.() !== 0) {
        throw new AgentError(`nodelet ${which} needs root: it mounts, makes cgroups and programs the network`, {
          code: 'NOT_ROOT',
          hint: 'nothing was changed; run it with sudo',
        });
      }
      const run = flags.cleanup?.at(-1) === 'true' ? cleanUp : runAgent;
      await run(config, config.kubeconfig, log, stopSignal());
    });
  }
}

const STDERR = 2;

async function agentLogger({ format, verbosity, vmodule }: LogSettings): Promise<Logger> {
  const text = format === 'text' ? (await import('../core/text-log.ts')).textLog(STDERR) : undefined;
  return createLogger({
    level: levelOfVerbosity(verbosity),
    components: vmodule.map((entry) => ({ pattern: entry.pattern, level: levelOfVerbosity(entry.verbosity) })),
    ...(text === undefined ? {} : { destination: text }),
  });
}

/** Runs the parts that `config` names until `signal` aborts. */
async function runAgent(
  given: AgentConfig,
  kubeconfig: string | undefined,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  await checkKubeconfig(given, kubeconfig);
  const settled = given.parts.has('kubelet')
    ? await (await driver()).withRuntimeDriver(given, systemClock, log)
    : { config: given, isRuntimeOld: false };
  const { config } = settled;
  const ctx = await createContext(config, kubeconfig, log, signal);
  if (settled.isRuntimeOld) (await driver()).registerOldRuntime(ctx.registry);
  const kubelet = config.parts.has('kubelet') ? await (await kubeletPart()).createKubeletPart(ctx) : undefined;
  const network = config.parts.has('network') ? (await networkPart()).createNetworkPart(ctx) : undefined;
  const proxy = config.parts.has('proxy') ? await (await proxyPart()).createProxyPart(ctx, signal) : undefined;
  const notifying = await notifyingTask(ctx, () => kubelet?.healthError());
  const tasks: Record<string, Task> = {
    ...(notifying === undefined ? {} : { 'service manager': notifying }),
    ...(kubelet === undefined ? {} : { kubelet: kubelet.task }),
    ...(kubelet === undefined || !config.kubelet.makeIptablesUtilChains
      ? {}
      : { utilChains: async (s) => (await utilChains()).keepUtilChains(ctx, s) }),
    ...(network === undefined ? {} : { network: (s) => network.run(s) }),
    ...(proxy === undefined ? {} : { proxy: (s) => proxy.run(s) }),
  };
  void network?.ready.then(() => kubelet?.networkChanged()); // cannot fail
  using _ready = announceWhenReady(ctx, kubelet === undefined || ctx.standalone);
  await runTasks(signal, { ...ctx.tasks(), ...tasks });
}

/** Nothing is begun with credentials that cannot be used. Where they can be asked for, they may still be missing. */
async function checkKubeconfig({ identity }: AgentConfig, kubeconfig: string | undefined): Promise<void> {
  if (kubeconfig === undefined || identity.bootstrapKubeconfig !== undefined) return;
  await checkCredentials(kubeconfig, await loadKubeconfig(kubeconfig));
}

/** Tells systemd how we are, when it has asked; nothing that we start is to speak in our name. */
async function notifyingTask(ctx: AgentContext, healthError: () => string | undefined): Promise<Task | undefined> {
  if (!process.env.NOTIFY_SOCKET) return undefined;
  const { serviceManagerTask } = await import('./service-manager.ts');
  const task = serviceManagerTask({ ...process.env }, process.pid, { healthError, ...ctx });
  delete process.env.NOTIFY_SOCKET;
  return task;
}

/** Removes from the host what the agent put there for all pods, its network above all; what pods have themselves stays. */
async function cleanUp(
  config: AgentConfig,
  kubeconfig: string | undefined,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  // Nothing is asked for, nor written, for a node that is being taken apart.
  const identity = { ...config.identity, bootstrapKubeconfig: undefined, rotateCertificates: false };
  const ctx = await createContext({ ...config, identity }, kubeconfig, log, signal);
  if (config.parts.has('proxy')) await (await import('./agent/proxy-removal.ts')).cleanupProxy(ctx, signal);
  if (config.parts.has('network')) await (await networkPart()).createNetworkPart(ctx)?.cleanup(signal);
  if (!config.parts.has('kubelet')) return;
  await (await utilChains()).removeUtilChains(ctx.exec, signal);
  await (await rootDirPart()).releaseRootDir(ctx, config.kubelet.rootDir);
}

/** Tells whoever started us that we are up: once our Node is Ready as of this run where we have one; else at once. */
function announceWhenReady(ctx: AgentContext, atOnce: boolean): Disposable {
  if (atOnce) announceReady();
  const startedMs = Math.floor(ctx.clock.now() / 1000) * 1000; // heartbeats have whole seconds
  const look = (node: Node) => {
    const heartbeat = node.status?.conditions?.find((c) => c.type === 'Ready')?.lastHeartbeatTime;
    if (isNodeReady(node) && Date.parse(heartbeat ?? '') >= startedMs) announceReady();
  };
  return ctx.ownNode.store.subscribe({ onAdd: look, onUpdate: (_old, node) => look(node) });
}
