import { defineConfig } from 'vitest/config';

// Four suites: unit tests stand beside the code and need nothing; integration and e2e need root, containerd and kernel
// features, vm needs qemu, and all say so when they skip. Suites on the real system run one file after the other: two cores.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          testTimeout: 30_000, // property tests take seconds on a busy machine; nothing waits for time to pass
          include: [
            '{api,core,host,client,cri,kubelet,probes,proxy,cni,apiserver,lab,cmd,bench}/**/*.test.ts',
            'test/*.test.ts',
          ],
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 180_000,
        },
      },
      {
        // A machine in software emulation: whatever happens inside takes ten times as long.
        test: {
          name: 'vm',
          include: ['test/vm/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 1_500_000,
          hookTimeout: 1_800_000,
          globalSetup: ['test/vm/global-setup.ts'],
        },
      },
    ],
  },
});
