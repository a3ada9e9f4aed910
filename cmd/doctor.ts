// `nodelet doctor`: can this host be a node, and if not, what mends it.
import type { Command } from 'commander';
import { AgentError } from '../core/errors.ts';
import type { AgentConfig } from './config/agent-config.ts';
import type { FlagTexts } from './config/flags.ts';
import { parseAgentConfig, systemDeps } from './config/parse.ts';
import { examine } from './doctor-checks.ts';
import { type DoctorOptions, type Finding, finding } from './doctor-finding.ts';
import { systemHost } from './doctor-host.ts';
import { type OutputFormat, outputOption } from './options.ts';

interface DoctorFlags {
  readonly output: OutputFormat;
  readonly config?: string;
  readonly configDir?: string;
  readonly containerRuntimeEndpoint?: string;
  readonly cniBinDir?: string;
  readonly certDir?: string;
  readonly rootDir?: string;
  readonly hostnameOverride?: string;
}

const MARKS = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const;

export function addCommand(program: Command): void {
  program
    .command('doctor')
    .description(
      'Check whether this host can be a node: what is missing, and the command that mends it. Changes nothing.',
    )
    .option('--config <file>', 'check for the node that this file configures, and the file itself')
    .option('--config-dir <dir>', 'drop-ins of that configuration')
    .option(
      '--container-runtime-endpoint <endpoint>',
      'socket of the container runtime (default unix:///run/containerd/containerd.sock)',
    )
    .option('--cni-bin-dir <dir>', 'directory of the CNI plugins (default /opt/cni/bin)')
    .option('--cert-dir <dir>', 'directory of the certificates (default /var/lib/kubelet/pki)')
    .option('--root-dir <dir>', 'directory of the pods (default /var/lib/kubelet)')
    .option('--hostname-override <name>', 'name of the node (default: the host name)')
    .addOption(outputOption())
    .addHelpText('after', '\nExits with 1 when a node could not run; what only limits a node is a warning.')
    .action(async (flags: DoctorFlags) => {
      const findings = await diagnose(flags);
      const canRun = findings.every((f) => f.level !== 'fail');
      console.log(flags.output === 'json' ? JSON.stringify({ canRun, findings }, null, 2) : renderFindings(findings));
      if (!canRun) process.exitCode = 1;
    });
}

async function diagnose(flags: DoctorFlags): Promise<Finding[]> {
  const { config, faults } = await configuration(flags);
  const opts = optionsOf(config, flags);
  return [...faults, ...(await examine(systemHost(), opts))];
}

/** The configuration that is asked about; the defaults where it has faults, which are findings then. */
async function configuration(flags: DoctorFlags): Promise<{ config: AgentConfig; faults: Finding[] }> {
  const given: FlagTexts = Object.fromEntries(
    Object.entries(flags)
      .filter(([name]) => name !== 'output' && name !== 'cniBinDir')
      .map(([name, value]) => [name, [value]]),
  );
  try {
    return { config: (await parseAgentConfig('kubelet', given, systemDeps)).config, faults: [] };
  } catch (err) {
    if (!(err instanceof AgentError) || err.code !== 'CONFIG_INVALID') throw err;
    const { config } = await parseAgentConfig('kubelet', { hostnameOverride: ['doctor'] }, systemDeps);
    // The host name has a check of its own.
    const faults = (err.details!.faults as readonly string[]).filter((fault) => !fault.includes('the host name'));
    const remedy = 'mend it as it says; docs/configuration.md has every setting';
    return { config, faults: faults.map((fault) => finding('configuration', 'fail', fault, remedy)) };
  }
}

function optionsOf(
  { kubelet, node, server, proxy, process: own, nodelet }: AgentConfig,
  flags: DoctorFlags,
): DoctorOptions {
  const ports = [
    { port: server.enabled ? server.port : 0, setting: 'port', needed: true },
    { port: server.healthzPort, setting: 'healthzPort', needed: false },
    { port: portOf(proxy.healthzAddress), setting: 'healthzBindAddress (KubeProxyConfiguration)', needed: false },
    { port: portOf(proxy.metricsAddress), setting: 'metricsBindAddress (KubeProxyConfiguration)', needed: false },
  ];
  return {
    runtimeEndpoint: kubelet.containerRuntimeEndpoint,
    cniBinDir: flags.cniBinDir ?? nodelet.cniBinDir,
    cgroupDriver: kubelet.cgroupDriver,
    failSwapOn: node.failSwapOn,
    failCgroupV1: node.failCgroupV1,
    kernelParameters: own.kernelParameters,
    ports: ports.filter(({ port }) => port !== 0),
    certDir: node.certDir,
    rootDir: kubelet.rootDir,
    nodeName: flags.hostnameOverride,
    configured: flags.config !== undefined || flags.configDir !== undefined,
  };
}

function portOf(address: string | undefined): number {
  return Number(address?.split(':').at(-1) ?? 0);
}

/** One line per check, the remedy on a line of its own, and a verdict. */
export function renderFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((f) => f.check.length));
  const lines = findings.flatMap((f) => [
    `${MARKS[f.level]}  ${f.check.padEnd(width)}  ${f.message}`,
    ...(f.remedy === undefined ? [] : [`${' '.repeat(width + 8)}→ ${f.remedy}`]),
  ]);
  const count = (level: Finding['level']): number => findings.filter((f) => f.level === level).length;
  const verdict = count('fail') === 0 ? 'A node can run here' : 'A node cannot run here';
  return [...lines, '', `${verdict}: ${count('fail')} to mend, ${count('warn')} to look at.`].join('\n');
}
