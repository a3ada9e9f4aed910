// The lab's certificates and kubeconfigs: one CA for everything, as a small kubeadm cluster would have.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { stringify } from 'yaml';
import { formatIp, nthAddress, parseCidr } from '../api/cidr.ts';
import { createCa, createPrivateKeyPem, issueClientCert, issueServerCert, type KeyPair, YEAR_MS } from '../api/pki.ts';
import { temporaryOf } from '../host/files.ts';
import type { LabAddresses } from './names.ts';
import type { NodePaths } from './node-config.ts';

/** Every file and directory that a lab makes in its directory, but for the nodes' own (node-config.ts). */
export interface LabFiles {
  readonly kubeconfig: string;
  readonly pki: string;
  readonly caCert: string;
  readonly caKey: string;
  readonly apiserverCert: string;
  readonly apiserverKey: string;
  readonly kubeletClientCert: string;
  readonly kubeletClientKey: string;
  readonly serviceAccountKey: string;
  readonly store: string;
  readonly apiserverLog: string;
  readonly images: string;
  readonly nodes: string;
  /** What taking the lab down removes. */
  readonly all: readonly string[];
}

export function labFiles(dir: string): LabFiles {
  const at = (...parts: string[]): string => path.join(dir, ...parts);
  const files = {
    kubeconfig: at('kubeconfig'),
    pki: at('pki'),
    caCert: at('pki', 'ca.crt'),
    caKey: at('pki', 'ca.key'),
    apiserverCert: at('pki', 'apiserver.crt'),
    apiserverKey: at('pki', 'apiserver.key'),
    kubeletClientCert: at('pki', 'apiserver-kubelet-client.crt'),
    kubeletClientKey: at('pki', 'apiserver-kubelet-client.key'),
    serviceAccountKey: at('pki', 'sa.key'),
    store: at('store'),
    apiserverLog: at('apiserver.log'),
    images: at('images'),
    nodes: at('nodes'),
  };
  const { kubeconfig, pki, store, apiserverLog, images, nodes } = files;
  const state = at('lab.json');
  return { ...files, all: [kubeconfig, pki, store, apiserverLog, images, nodes, state, temporaryOf(state)] };
}

/** Every API server certificate names these (kubeadm's defaults). */
const APISERVER_NAMES = [
  'kubernetes',
  'kubernetes.default',
  'kubernetes.default.svc',
  'kubernetes.default.svc.cluster.local',
  'localhost',
];

/** The CA, what the API server needs, and the administrator's kubeconfig. Replaces what is there. */
export async function createClusterPki(files: LabFiles, addresses: LabAddresses, port: number): Promise<void> {
  const validity = { nowMs: Date.now(), lifetimeMs: YEAR_MS };
  const ca = createCa('kubernetes', { ...validity, lifetimeMs: 10 * YEAR_MS });
  const serviceIp = formatIp(nthAddress(parseCidr(addresses.serviceCidr), 1));
  const names = {
    dnsNames: [...APISERVER_NAMES, hostname()],
    ipAddresses: ['127.0.0.1', addresses.host, serviceIp],
  };
  const server = issueServerCert(ca, { commonName: 'kube-apiserver' }, names, validity);
  const kubeletClient = issueClientCert(
    ca,
    { commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'] },
    validity,
  );
  const admin = issueClientCert(ca, { commonName: 'kubernetes-admin', organizations: ['system:masters'] }, validity);
  await mkdir(files.pki, { recursive: true, mode: 0o755 });
  await writePair(files.caCert, files.caKey, ca);
  await writePair(files.apiserverCert, files.apiserverKey, server);
  await writePair(files.kubeletClientCert, files.kubeletClientKey, kubeletClient);
  await writeFile(files.serviceAccountKey, createPrivateKeyPem(), { mode: 0o600 });
  const kubeconfig = renderKubeconfig(`https://${addresses.host}:${port}`, ca.cert, 'kubernetes-admin', admin);
  await writeFile(files.kubeconfig, kubeconfig, { mode: 0o600 });
}

export interface NodeCredentialsInput {
  readonly node: string;
  readonly ip: string;
  readonly server: string;
  readonly paths: NodePaths;
}

/** A node's kubeconfig (identity `system:node:<name>`) and its serving certificate. */
export async function issueNodeCredentials(files: LabFiles, input: NodeCredentialsInput): Promise<void> {
  const { node, ip, paths } = input;
  const validity = { nowMs: Date.now(), lifetimeMs: YEAR_MS };
  const ca: KeyPair = { cert: await readFile(files.caCert, 'utf8'), key: await readFile(files.caKey, 'utf8') };
  const subject = { commonName: `system:node:${node}`, organizations: ['system:nodes'] };
  const client = issueClientCert(ca, subject, validity);
  const serving = issueServerCert(ca, subject, { dnsNames: [node], ipAddresses: [ip] }, validity);
  await mkdir(paths.pki, { recursive: true, mode: 0o755 });
  await writePair(path.join(paths.pki, 'serving.crt'), path.join(paths.pki, 'serving.key'), serving);
  const kubeconfig = renderKubeconfig(input.server, ca.cert, subject.commonName, client);
  await writeFile(paths.kubeconfig, kubeconfig, { mode: 0o600 });
}

async function writePair(certFile: string, keyFile: string, pair: KeyPair): Promise<void> {
  await writeFile(certFile, pair.cert);
  await writeFile(keyFile, pair.key, { mode: 0o600 });
}

function renderKubeconfig(server: string, caPem: string, user: string, client: KeyPair): string {
  const base64 = (pem: string): string => Buffer.from(pem).toString('base64');
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster: { server, 'certificate-authority-data': base64(caPem) } }],
    users: [
      { name: user, user: { 'client-certificate-data': base64(client.cert), 'client-key-data': base64(client.key) } },
    ],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user } }],
    'current-context': 'lab',
  });
}
