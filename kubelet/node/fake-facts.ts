// A small node for tests.
import type { NodeFacts } from './node-status.ts';

export function factsOf(more: Partial<NodeFacts> = {}): NodeFacts {
  return {
    nodeName: 'n1',
    addresses: [
      { type: 'InternalIP', address: '10.0.0.1' },
      { type: 'Hostname', address: 'n1' },
    ],
    machine: {
      cores: 2,
      onlineCpus: '0-1',
      memoryBytes: 4 * 2 ** 30,
      swapBytes: 0,
      hugePages: [{ pageBytes: 2 << 20, count: 8 }],
      machineId: 'm',
      systemUuid: 's',
      bootId: 'b',
      kernelVersion: '6.1.0',
      osImage: 'Debian',
      architecture: 'amd64',
    },
    ephemeralStorageBytes: 10 * 2 ** 30,
    maxPods: 110,
    podsPerCore: 0,
    reservations: [],
    kubeletVersion: 'v1.36.0',
    runtimeName: 'containerd',
    runtimeVersion: '1.6.20',
    kubeletPort: 10250,
    images: [],
    maxImages: 50,
    runtimeHandlers: [],
    runtimeFeatures: undefined,
    pressure: [],
    notReady: [],
    volumesInUse: [],
    ...more,
  };
}
