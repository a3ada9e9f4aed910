// A device plugin as the device manager sees one, in memory: it gives what it is asked for and can be told to fail.
import { CriError } from '../../cri/errors.ts';
import type { ContainerAllocateResponse, DevicePluginOptions, PluginDevice } from '../../cri/gen/messages.ts';
import type { DevicePlugin } from './device-plugin.ts';
import { type Device, devicesTold } from './device-types.ts';

export class FakeDevicePlugin implements DevicePlugin {
  readonly allocated: string[][] = [];
  readonly preStarted: string[][] = [];
  /** What it was asked to prefer from, what it had to include, how many. */
  readonly asked: [available: string[], mustInclude: string[], count: number][] = [];
  preference: readonly string[] | undefined;
  /** The next call of any kind fails with it. */
  fault: string | undefined;
  /** Answers Allocate without any container. */
  isEmpty = false;
  /** Awaited by Allocate before it answers. */
  gate: Promise<void> | undefined;

  async options(): Promise<DevicePluginOptions> {
    return { preStartRequired: false, getPreferredAllocationAvailable: false };
  }

  async *listAndWatch(): AsyncIterable<readonly PluginDevice[]> {}

  async preferred(available: Iterable<string>, mustInclude: Iterable<string>, count: number) {
    this.#fail('GetPreferredAllocation');
    this.asked.push([[...available], [...mustInclude], count]);
    return this.preference;
  }

  async allocate(ids: Iterable<string>): Promise<ContainerAllocateResponse | undefined> {
    const asked = [...ids];
    await this.gate;
    this.#fail('Allocate');
    this.allocated.push(asked);
    if (this.isEmpty) return undefined;
    return { envs: { IDS: asked.toSorted().join(',') }, mounts: [], devices: [], annotations: {}, cdiDevices: [] };
  }

  async preStart(ids: Iterable<string>): Promise<void> {
    this.#fail('PreStartContainer');
    this.preStarted.push([...ids]);
  }

  #fail(method: string): void {
    const fault = this.fault;
    this.fault = undefined;
    if (fault !== undefined) throw new CriError(`/v1beta1.DevicePlugin/${method}`, 'UNKNOWN', fault);
  }
}

/** Devices as a plugin tells them; `!` before an id: broken. `a@0`: near to NUMA node 0. */
export function told(text: string): Map<string, Device> {
  return devicesTold(
    text
      .split(' ')
      .filter((word) => word !== '')
      .map((word) => {
        const [id = '', node] = word.replace(/^!/, '').split('@');
        const health = word.startsWith('!') ? 'Unhealthy' : 'Healthy';
        return { ID: id, health, topology: node === undefined ? undefined : { nodes: [{ ID: Number(node) }] } };
      }),
  );
}
