import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/harness/longest-first.ts';
import { synchronousFiles } from './test/harness/synchronous-files.ts';

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

const UNIT_FILES = [
  '{api,core,host,client,cri,kubelet,probes,proxy,cni,apiserver,lab,cmd,bench}/**/*.test.ts',
  'test/*.test.ts',
];
const SYNCHRONOUS_FILES = synchronousFiles(import.meta.dirname, UNIT_FILES);

function unitTests(
  name: string,
  files: { readonly include: string[]; readonly exclude?: string[]; isolate?: boolean },
) {
  return {
    test: {
      name,
      maxWorkers: '100%',
      // Property tests take seconds, and far longer where others come first; nothing waits for time to pass.
      testTimeout: 300_000,
      hookTimeout: 300_000,
      ...files,
    },
  };
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      unitTests('unit', { include: UNIT_FILES }),
      // The same in two parts, as `npm test` runs them: a process for each file, and one process for many.
      unitTests('unit-apart', { include: UNIT_FILES, exclude: SYNCHRONOUS_FILES }),
      unitTests('unit-together', { include: SYNCHRONOUS_FILES, isolate: false }),
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
