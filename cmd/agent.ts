// `nodelet agent`: kubelet, service proxy and pod network in one process; and each of them alone.

import type { Command } from 'commander';
import type { Node } from '../api/kinds.ts';
import { createLogger, type Logger, levelOfVerbosity } from '../core/log.ts';
import { runTasks, type Task } from '../core/tasks.ts';
import { isNodeReady } from '../kubelet/node/node-status.ts';
import { createKubeletPart } from './agent/kubelet-part.ts';
import { createNetworkPart } from './agent/network-part.ts';
import { createProxyPart } from './agent/proxy-part.ts';
import { type AgentContext, createContext } from './agent/shared.ts';
import type { AgentConfig } from './config/agent-config.ts';
import { announceReady } from './ready.ts';
import { stopSignal } from './signals.ts';

/** Runs the parts that `config` names until `signal` aborts. */
export async function runAgent(
  config: AgentConfig,
  kubeconfig: string,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const ctx = await createContext(config, kubeconfig, log);
  const kubelet = config.parts.has('kubelet') ? await createKubeletPart(ctx) : undefined;
  const network = config.parts.has('network') ? await createNetworkPart(ctx) : undefined;
  const proxy = config.parts.has('proxy') ? createProxyPart(ctx) : undefined;
  const tasks: Record<string, Task> = {
    ...(kubelet === undefined ? {} : { kubelet: kubelet.task }),
    ...(network === undefined ? {} : { network: (s) => network.run(s) }),
    ...(proxy === undefined ? {} : { proxy: proxy.task }),
  };
  void network?.ready.then(() => kubelet?.networkChanged()); // cannot fail
  using _ready = announceWhenReady(ctx, kubelet === undefined);
  await runTasks(signal, { ...ctx.tasks(), ...tasks });
}

/** Tells whoever started us that we are up: with the kubelet, once its Node is Ready as of this run; else at once. */
function announceWhenReady(ctx: AgentContext, atOnce: boolean): Disposable {
  if (atOnce) announceReady();
  const startedMs = Math.floor(ctx.clock.now() / 1000) * 1000; // heartbeats have whole seconds
  const look = (node: Node) => {
    const heartbeat = node.status?.conditions?.find((c) => c.type === 'Ready')?.lastHeartbeatTime;
    if (isNodeReady(node) && Date.parse(heartbeat ?? '') >= startedMs) announceReady();
  };
  return ctx.ownNode.store.subscribe({ onAdd: look, onUpdate: (_old, node) => look(node) });
}

export function addCommand(program: Command): void {
  program
    .command('agent')
    .description('The node: kubelet, service proxy and pod network.')
    .option('--config <f>')
    .option('--kubeconfig <f>')
    .option('--hostname-override <n>')
    .option('--node-ip <ip>')
    .option('--root-dir <d>')
    .option('--cert-dir <d>')
    .option('--v <n>')
    .option('--proxy-mode <m>')
    .option('--network-backend <b>')
    .action(async (flags: Record<string, string>) => {
      const { provisional } = await import('./config/provisional.ts');
      const config = await provisional(flags);
      const log = createLogger({ level: levelOfVerbosity(config.verbosity) });
      await runAgent(config, config.kubeconfig!, log, stopSignal());
    });
}
