import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { FakeCgroups } from '../stats/fake-cgroups.ts';
import { CgroupSampler } from '../stats/sampler.ts';
import { type CadvisorFacts, renderCadvisorMetrics } from './cadvisor.ts';

const facts = (directories: readonly string[]): CadvisorFacts => ({
  machine: async () => ({
    machine: {
      cores: 1,
      memoryBytes: 1,
      swapBytes: 0,
      machineId: '',
      systemUuid: '',
      bootId: '',
      kernelVersion: '',
      osImage: '',
    },
    physicalCores: 1,
    sockets: 1,
    version: '',
  }),
  pauseImage: async () => 'pause',
  directories: async () => directories,
});

test('a directory of the runtime that this process does not see costs nothing but its own figures', async () => {
  const source = new FakeCgroups();
  source.add('/', {});
  const sampler = new CgroupSampler({ source, targets: () => [], groups: [], clock: new FakeClock() });
  const sample = await sampler.sample('details', 0);
  const text = await renderCadvisorMetrics(sample, facts(['/nonexistent/containerd', tmpdir()]));
  expect(text).toMatch(/^container_fs_limit_bytes\{/m);
  expect(text).toMatch(/^container_scrape_error 0$/m);
});
