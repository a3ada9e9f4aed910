// The lab's certificates and kubeconfigs: one CA for everything, as a small kubeadm cluster would have.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
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
  return { ...files, all: [kubeconfig, pki, store, apiserverLog, images, nodes, at('lab.json')] };
}
