// What `kubeadm join` leaves on a node, written into a lab node whose /etc and /var/lib are its own.
import { readFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { findNode, readLabState } from '../../lab/state.ts';
import type { FaultNode } from './fault-node.ts';
import { NODE } from './fault-node.ts';

const BOOTSTRAP_TOKEN = { id: 'abcdef', secret: '0123456789abcdef' };

/** Lays memory over the places that kubeadm's files have, so that the machine's own stay as they are. */
const OWN_PLACES = `set -e
mkdir -p /run/own
mount -t tmpfs tmpfs /run/own
mkdir /run/own/etc /run/own/etc.work /run/own/lib /run/own/lib.work /run/own/cni
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/own/etc,workdir=/run/own/etc.work /etc
echo "$2 $3" >> /etc/hosts
mkdir -p /etc/kubernetes/pki /etc/kubernetes/manifests
mount --bind /var/lib/cni /run/own/cni # the node's own, which the next one hides
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/own/lib,workdir=/run/own/lib.work /var/lib
mount --bind /run/own/cni /var/lib/cni
mkdir -p /var/lib/kubelet
mount --bind "$1" /var/lib/kubelet
mount --make-rshared /var/lib/kubelet
mount -t tmpfs tmpfs /var/log
`;

/** The Secret of a token, as `kubeadm token create` makes it. */
export function bootstrapTokenSecret(): object {
  const { id, secret } = BOOTSTRAP_TOKEN;
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: `bootstrap-token-${id}`, namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    stringData: {
      'token-id': id,
      'token-secret': secret,
      'usage-bootstrap-authentication': 'true',
      'auth-extra-groups': 'system:bootstrappers:kubeadm:default-node-token',
    },
  };
}

/** `config` is merged over what kubeadm writes into config.yaml. */
export async function layKubeadmFiles(node: FaultNode, config: object): Promise<void> {
  const { cluster, paths } = node;
  const address = findNode(await readLabState(cluster.dir), NODE).ip;
  await cluster.inNode(NODE, 'sh', '-c', OWN_PLACES, 'own-places', paths.kubeletRoot, address, NODE);
  const admin = await loadKubeconfig(cluster.kubeconfig);
  const ca = admin.ca !== undefined && 'data' in admin.ca ? admin.ca.data : '';
  const bootstrap = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'kubernetes',
        cluster: { 'certificate-authority-data': Buffer.from(ca).toString('base64'), server: admin.server },
      },
    ],
    contexts: [
      {
        name: 'tls-bootstrap-token-user@kubernetes',
        context: { cluster: 'kubernetes', user: 'tls-bootstrap-token-user' },
      },
    ],
    'current-context': 'tls-bootstrap-token-user@kubernetes',
    preferences: {},
    users: [{ name: 'tls-bootstrap-token-user', user: { token: `${BOOTSTRAP_TOKEN.id}.${BOOTSTRAP_TOKEN.secret}` } }],
  };
  await write(node, '/etc/kubernetes/pki/ca.crt', ca);
  await write(node, '/etc/kubernetes/bootstrap-kubelet.conf', stringify(bootstrap));
  await write(node, '/var/lib/kubelet/config.yaml', stringify({ ...kubeletConfiguration(), ...config }));
  const socket = `--container-runtime-endpoint=unix://${paths.containerdSocket}`;
  await write(node, '/var/lib/kubelet/kubeadm-flags.env', `KUBELET_KUBEADM_ARGS="${socket}"\n`);
}

/** The node's own file, seen from outside. */
export function readOnNode(node: FaultNode, file: string): Promise<string> {
  return readFile(`/proc/${node.initPid}/root${file}`, 'utf8');
}

async function write(node: FaultNode, file: string, text: string): Promise<void> {
  await node.cluster.inNode(NODE, 'sh', '-c', 'umask 077; printf %s "$2" > "$1"', 'write', file, text);
}

/** In the order and with the zero durations that kubeadm v1.36 writes. */
function kubeletConfiguration(): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    authentication: {
      anonymous: { enabled: false },
      webhook: { cacheTTL: '0s', enabled: true },
      x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' },
    },
    authorization: { mode: 'Webhook', webhook: { cacheAuthorizedTTL: '0s', cacheUnauthorizedTTL: '0s' } },
    cgroupDriver: 'cgroupfs',
    clusterDNS: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    containerRuntimeEndpoint: '',
    cpuManagerReconcilePeriod: '0s',
    crashLoopBackOff: {},
    evictionPressureTransitionPeriod: '0s',
    fileCheckFrequency: '0s',
    healthzBindAddress: '127.0.0.1',
    healthzPort: 10_248,
    httpCheckFrequency: '0s',
    imageMaximumGCAge: '0s',
    imageMinimumGCAge: '0s',
    kind: 'KubeletConfiguration',
    logging: {
      flushFrequency: 0,
      options: { json: { infoBufferSize: '0' }, text: { infoBufferSize: '0' } },
      verbosity: 0,
    },
    memorySwap: {},
    nodeStatusReportFrequency: '0s',
    nodeStatusUpdateFrequency: '0s',
    rotateCertificates: true,
    runtimeRequestTimeout: '0s',
    shutdownGracePeriod: '0s',
    shutdownGracePeriodCriticalPods: '0s',
    staticPodPath: '/etc/kubernetes/manifests',
    streamingConnectionIdleTimeout: '0s',
    syncFrequency: '0s',
    volumeStatsAggPeriod: '0s',
  };
}
