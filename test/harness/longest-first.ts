// The order in which files on the real system are taken up. Several run at a time, so that the last ones should be short:
// else one would go on alone for a minute.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take more than 10 s, the longest first; measured, and only a matter of time when wrong. */
const LONG = [
  'e2e/faults',
  'e2e/kubectl',
  'integration/proxy-churn',
  'e2e/resize',
  'e2e/node-identity',
  'e2e/services',
  'e2e/faults-sigkill',
  'e2e/metrics',
  'e2e/services-nftables',
  'e2e/eviction',
  'integration/service-matrix',
  'e2e/faults-cri',
  'e2e/lab',
  'e2e/devices',
  'e2e/faults-api',
  'integration/cri',
  'e2e/probes',
  'e2e/dynamic-resources',
  'integration/streaming',
  'integration/kubectl-node',
  'e2e/agent-killed',
  'integration/pod-network',
  'e2e/bad-input',
  'e2e/faults-runtime',
  'e2e/resource-managers',
  'e2e/lifecycle',
  'integration/nftables-table',
  'e2e/random-pods',
  'e2e/csi',
  'e2e/static-pods',
  'integration/node-server-load',
  'e2e/init-containers',
  'integration/nftables',
  'e2e/kubectl-user',
  'integration/proxy-tool-faults',
  'e2e/volume-pods',
  'e2e/dual-stack',
  'integration/container-mounts',
  'e2e/node-shutdown',
  'integration/container-security',
  'integration/container-identity',
  'static', // the compiler and the linter, over everything
  'kubelet/server/security',
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification): number => {
      const found = LONG.findIndex((name) => file.moduleId.endsWith(`/${name}.test.ts`));
      return found < 0 ? LONG.length : found;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
