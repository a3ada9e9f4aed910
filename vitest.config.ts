import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/harness/longest-first.ts';

// Suites: unit tests stand beside the code and need nothing; integration and e2e need root, containerd and kernel
// features, vm and vm-numa need qemu, and all say so when they skip. Suites on the real system run one file after the
// other, unless they are told otherwise, as `npm test` does. All but vm-numa are part of that: another machine to boot, of
// eight emulated CPUs, takes minutes.
/** A machine in software emulation: whatever happens inside takes ten times as long. */
function virtualMachine(name: string, file: string) {
  return {
    test: {
      name,
      include: [file],
      fileParallelism: false,
      testTimeout: 1_500_000,
      hookTimeout: 1_800_000,
      globalSetup: ['test/vm/global-setup.ts'],
    },
  };
}

/**
 * Files run one after the other in processes that they share, which Node.js loads the sources into as they are: a
 * process for each, and Vite's work on what it loads, cost more than most of the tests.
 */
const SHARED_PROCESSES = {
  isolate: false,
  setupFiles: ['test/harness/leaves-nothing.ts'],
  experimental: { viteModuleRunner: false, nodeLoader: false },
};

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{api,core,host,client,cri,kubelet,probes,proxy,cni,apiserver,lab,cmd,bench}/**/*.test.ts',
            'test/*.test.ts',
          ],
          ...SHARED_PROCESSES,
          maxWorkers: '100%',
          // Property tests take seconds, and far longer where others come first; nothing waits for time to pass.
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          fileParallelism: false,
          globalSetup: ['test/harness/bundle.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          globalSetup: ['test/harness/bundle.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      virtualMachine('vm', 'test/vm/node.test.ts'),
      virtualMachine('vm-numa', 'test/vm/numa.test.ts'),
    ],
  },
});
