// The order in which files on the real system are taken up. Several run at a time, so that the last ones should be short:
// else one would go on alone for a minute.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take more than 15 s, the longest first; measured, and only a matter of time when wrong. */
const LONG = [
  'e2e/faults',
  'e2e/kubectl',
  'integration/proxy-churn',
  'e2e/agent-killed',
  'e2e/faults-api',
  'e2e/devices',
  'integration/cri',
  'e2e/node-identity',
  'e2e/metrics',
  'e2e/faults-sigkill',
  'e2e/faults-cri',
  'e2e/eviction',
  'e2e/services-nftables',
  'e2e/services',
  'integration/pod-network',
  'integration/container-mounts',
  'e2e/dynamic-resources',
  'integration/node-server-load',
  'e2e/probes',
  'e2e/resource-managers',
  'integration/kubectl-node',
  'e2e/resize',
  'e2e/bad-input',
  'e2e/lifecycle',
  'integration/streaming',
  'e2e/lab',
  'integration/service-matrix',
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
