// `nodelet apiserver`: the minimal API server, with its controllers and scheduler in the same process.
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseCidr } from '../api/cidr.ts';
import { YEAR_MS } from '../api/pki.ts';
import { ApiServer } from '../apiserver/apiserver.ts';
import { ensureBootstrapRoles } from '../apiserver/auth/bootstrap-roles.ts';
import { type ControllerContext, createStores } from '../apiserver/controllers/context.ts';
import { ControllerManager } from '../apiserver/controllers/manager.ts';
import { runClusterDns } from '../apiserver/dns/cluster-dns.ts';
import { Scheduler } from '../apiserver/scheduler/scheduler.ts';
import { ApiEventRecorder } from '../client/event-recorder.ts';
import { aborted } from '../core/abort.ts';
import { systemClock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import { createLogger, type Logger, levelOfVerbosity } from '../core/log.ts';
import { parseGoDuration } from '../core/parse-duration.ts';
import { runTasks, type Task } from '../core/tasks.ts';
import { createExtensions } from './apiserver/extensions.ts';
import { certificatesOptions, type SigningFlags } from './apiserver/signing.ts';
import { unreadable } from './config/files.ts';
import { cidr, directory, ipAddress, wholeNumber } from './options.ts';
import { announceReady } from './ready.ts';
import { stopSignal } from './signals.ts';

export interface ApiserverFlags extends SigningFlags {
  readonly bindAddress: string;
  readonly advertiseAddress?: string;
  readonly securePort: number;
  readonly tlsCertFile: string;
  readonly tlsPrivateKeyFile: string;
  readonly clientCaFile: string;
  readonly rootCaFile?: string;
  readonly serviceAccountSigningKeyFile: string;
  readonly serviceAccountIssuer: string;
  readonly serviceClusterIpRange: string;
  readonly clusterCidr: string;
  readonly nodeCidrMaskSize: number;
  readonly nodeMonitorGracePeriod: number;
  readonly kubeletClientCertificate?: string;
  readonly kubeletClientKey?: string;
  readonly kubeletCertificateAuthority?: string;
  readonly authorizationMode: string;
  readonly tokenAuthFile?: string;
  readonly dnsPort: number;
  readonly storeDir: string;
  readonly storeDurability: 'full' | 'normal';
  readonly v: number;
}

/** A startup grace twice the ordinary one would hide slow nodes; upstream's is 60 s beside 50 s. */
const STARTUP_EXTRA_MS = 10_000;
const TERMINATED_POD_THRESHOLD = 100;
/** Zone of the cluster's DNS; kubelets are told the same. */
const CLUSTER_DOMAIN = 'cluster.local';

export function addCommand(program: Command): void {
  program
    .command('apiserver')
    .description(
      'A minimal Kubernetes API server for labs and tests, with controllers and a scheduler. Flags are named as those of kube-apiserver and kube-controller-manager.',
    )
    .option('--bind-address <ip>', 'address to listen on', ipAddress, '127.0.0.1')
    .option(
      '--advertise-address <ip>',
      'address under which nodes and pods reach this server (default: --bind-address)',
      ipAddress,
    )
    .option('--secure-port <port>', 'port', wholeNumber(1, 65_535), 6443)
    .requiredOption('--tls-cert-file <file>', 'serving certificate, PEM')
    .requiredOption('--tls-private-key-file <file>', 'its key, PEM')
    .requiredOption('--client-ca-file <file>', 'CA of client certificates, PEM')
    .option('--root-ca-file <file>', 'CA by which pods verify this server, PEM (default: --client-ca-file)')
    .requiredOption('--service-account-signing-key-file <file>', 'key that signs service account tokens, PEM')
    .option('--service-account-issuer <url>', 'issuer of those tokens', 'https://kubernetes.default.svc.cluster.local')
    .option('--service-cluster-ip-range <cidr>', 'addresses of Services', cidr, '10.96.0.0/16')
    .option('--cluster-cidr <cidr>', 'addresses of pods; each node gets a block of it', cidr, '10.244.0.0/16')
    .option('--node-cidr-mask-size <bits>', "size of a node's block", wholeNumber(8, 30), 24)
    .option(
      '--node-monitor-grace-period <seconds>',
      'a node not heard of for so long is Unknown',
      wholeNumber(5, 3600),
      50,
    )
    .option('--kubelet-client-certificate <file>', 'certificate towards kubelets, PEM')
    .option('--kubelet-client-key <file>', 'its key, PEM')
    .option('--kubelet-certificate-authority <file>', "CA of kubelets' serving certificates, PEM")
    .option('--cluster-signing-cert-file <file>', 'CA that signs what nodes and users ask for, PEM')
    .option('--cluster-signing-key-file <file>', 'its key, PEM; without both, signing requests wait for another signer')
    .option('--cluster-signing-duration <duration>', 'longest life of what it signs, e.g. 8760h', goDuration, YEAR_MS)
    .option('--authorization-mode <modes>', 'Node, RBAC or AlwaysAllow, comma-separated', 'Node,RBAC')
    .option('--token-auth-file <file>', 'static tokens: token,user,uid,"group1,group2" per line')
    .option(
      '--dns-port <port>',
      "port of the cluster's DNS on --bind-address, for the Service kube-system/kube-dns; 0: any that is free, -1: no DNS",
      wholeNumber(-1, 65_535),
      0,
    )
    .requiredOption('--store-dir <dir>', 'directory of the store', directory)
    .addOption(
      new Option(
        '--store-durability <how>',
        'what is still there after a power cut: every write that was answered (full), or an earlier state (normal, faster); a killed server loses nothing either way',
      )
        .choices(['full', 'normal'])
        .default('full'),
    )
    .option('--v <level>', 'log verbosity, 0 to 10', wholeNumber(0, 10), 2)
    .action(async (flags: ApiserverFlags) => {
      await runApiserver(flags, createLogger({ level: levelOfVerbosity(flags.v) }), stopSignal());
    });
}

/** Serves until `signal` aborts. @throws {AgentError} for files that cannot be read and a port that is taken. */
async function runApiserver(flags: ApiserverFlags, log: Logger, signal: AbortSignal): Promise<void> {
  const clock = systemClock;
  checkNodeMask(flags);
  const clientCa = await readCertificates('client-ca-file', flags.clientCaFile);
  const advertiseAddress = flags.advertiseAddress ?? flags.bindAddress;
  const server = new ApiServer(
    {
      storeDir: flags.storeDir,
      durability: flags.storeDurability,
      listen: { address: flags.bindAddress, port: flags.securePort },
      advertiseAddress,
      tls: {
        cert: await readCertificates('tls-cert-file', flags.tlsCertFile),
        key: await readFlagFile('tls-private-key-file', flags.tlsPrivateKeyFile),
        clientCa,
      },
      serviceCidr: flags.serviceClusterIpRange,
    },
    { clock, log },
  );
  const client = server.client({ name: 'system:kube-controller-manager', groups: ['system:masters'] });
  const recorders = new Map<string, ApiEventRecorder>();
  const context: ControllerContext = {
    client,
    stores: createStores(),
    recorder: (component) => {
      const recorder = recorders.get(component) ?? new ApiEventRecorder(client, { component }, { clock, log });
      recorders.set(component, recorder);
      return recorder;
    },
    clock,
    log,
  };
  const extensions = await createExtensions(flags, server, { clock, log, readFlagFile });
  const listable = [...server.registry.endpoints].filter((e) => e.conversion === undefined).map((e) => e.type);
  const controllers = new ControllerManager(context, {
    clusterCidr: flags.clusterCidr,
    serviceCidr: flags.serviceClusterIpRange,
    nodeMaskSize: flags.nodeCidrMaskSize,
    nodeMonitorGracePeriodMs: flags.nodeMonitorGracePeriod * 1000,
    nodeStartupGracePeriodMs: flags.nodeMonitorGracePeriod * 1000 + STARTUP_EXTRA_MS,
    terminatedPodThreshold: TERMINATED_POD_THRESHOLD,
    rootCaPem: flags.rootCaFile === undefined ? clientCa : await readCertificates('root-ca-file', flags.rootCaFile),
    certificates: await certificatesOptions(flags, extensions.authorizer, readFlagFile),
    resources: listable,
  });
  const scheduler = new Scheduler(context);
  await ensureBootstrapRoles(client);
  await server.start(extensions);
  const tasks: Record<string, Task> = {
    server: async (s) => {
      await aborted(s);
    },
    controllers: (s) => controllers.run(s),
    scheduler: (s) => scheduler.run(s),
    ...dnsTask(flags, context),
    ...Object.fromEntries([...recorders].map(([name, r]) => [`events ${name}`, (s: AbortSignal) => r.run(s)])),
    ready: async (s) => {
      await controllers.waitForSync(s);
      if (!s.aborted) announceReady();
      await aborted(s);
    },
  };
  try {
    await runTasks(signal, tasks);
  } finally {
    await server.close();
  }
}

function dnsTask(flags: ApiserverFlags, context: ControllerContext): Record<string, Task> {
  if (flags.dnsPort < 0) return {};
  const opts = {
    zone: CLUSTER_DOMAIN,
    listenAddress: flags.bindAddress,
    advertiseAddress: flags.advertiseAddress ?? flags.bindAddress,
    port: flags.dnsPort,
    serviceCidr: flags.serviceClusterIpRange,
    clusterCidr: flags.clusterCidr,
  };
  return { dns: (signal) => runClusterDns(context, opts, signal) };
}

export async function readFlagFile(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AgentError(`--${flag}=${file}: ${unreadable(cause)}`, {
      code: 'CONFIG_INVALID',
      cause,
      hint: 'give the path of a file that can be read; `nodelet lab up` makes all that an API server needs by itself',
    });
  }
}

async function readCertificates(flag: string, file: string): Promise<string> {
  const text = await readFlagFile(flag, file);
  try {
    new X509Certificate(text);
    return text;
  } catch (cause) {
    throw new AgentError(`--${flag}=${file}: holds no certificate`, {
      code: 'CONFIG_INVALID',
      cause,
      hint: 'give a PEM file with one or more certificates',
    });
  }
}

function checkNodeMask({ clusterCidr, nodeCidrMaskSize }: ApiserverFlags): void {
  const { prefixLength } = parseCidr(clusterCidr);
  if (nodeCidrMaskSize >= prefixLength) return;
  throw new AgentError(`--node-cidr-mask-size=${nodeCidrMaskSize}: a node's block is larger than ${clusterCidr}`, {
    code: 'CONFIG_INVALID',
    hint: `give a size of at least ${prefixLength}, or a larger --cluster-cidr`,
  });
}

function goDuration(text: string): number {
  const ms = parseGoDuration(text);
  if (ms !== undefined && ms >= 1000) return ms;
  throw new InvalidArgumentError('expected a duration of at least 1s, such as 8760h or 90m.');
}
