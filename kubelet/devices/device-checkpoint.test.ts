import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseCheckpoint, readCheckpoint, renderCheckpoint } from './device-checkpoint.ts';

/** As kubelets wrote them. */
const ONE_DEVICE =
  '{"Data":{"PodDeviceEntries":[{"PodUID":"bf52b2cd-b611-4e79-86b1-280b283185c3","ContainerName":"check",' +
  '"ResourceName":"nvidia.com/gpu","DeviceIDs":{"-1":["tegra"]},' +
  '"AllocResp":"Ch8KFk5WSURJQV9WSVNJQkxFX0RFVklDRVMSBXRlZ3Jh"}],' +
  '"RegisteredDevices":{"nvidia.com/gpu":["tegra"]}},"Checksum":3660592824}';
const NONE_GIVEN =
  '{"Data":{"PodDeviceEntries":null,"RegisteredDevices":{"nvidia.com/gpu":' +
  '["GPU-0650a168-e770-3ea8-8ac3-8a1d419763e0"]}},"Checksum":3952659280}';

describe('the checkpoint', () => {
  test('of a kubelet is read', () => {
    const { grants, registered } = parseCheckpoint(ONE_DEVICE);
    expect(grants).toEqual([
      {
        podUid: 'bf52b2cd-b611-4e79-86b1-280b283185c3',
        container: 'check',
        resource: 'nvidia.com/gpu',
        grant: {
          devices: new Map([[-1, ['tegra']]]),
          response: {
            envs: { NVIDIA_VISIBLE_DEVICES: 'tegra' },
            mounts: [],
            devices: [],
            annotations: {},
            cdiDevices: [],
          },
        },
      },
    ]);
    expect([...registered]).toEqual([['nvidia.com/gpu', ['tegra']]]);
  });

  test.each([ONE_DEVICE, NONE_GIVEN])('is written as a kubelet writes it', (text) => {
    expect(renderCheckpoint(parseCheckpoint(text))).toBe(text);
  });

  test('that a kubelet wrote with a number this one does not know is read all the same', () => {
    const later = ONE_DEVICE.replace(/}$/, ',"BootID":"1f0e"}');
    expect(parseCheckpoint(later).grants).toHaveLength(1);
  });

  test('of several pods, nodes and resources comes back as it was', () => {
    const response = {
      envs: { A: 'ä' },
      mounts: [],
      devices: [],
      annotations: {},
      cdiDevices: [{ name: 'v.com/c=1' }],
    };
    const devices = new Map([
      [10, ['j']],
      [-1, ['x']],
      [2, ['b', 'c']],
    ]);
    const grants = ['one', 'two'].map((podUid) => ({
      podUid,
      container: 'c',
      resource: 'a.b/é',
      grant: { devices, response },
    }));
    const registered = new Map([
      ['z.com/z', ['z']],
      ['a.com/a', []],
    ]);
    const read = parseCheckpoint(renderCheckpoint({ grants, registered }));
    expect(read.grants).toEqual(grants);
    expect(new Map(read.registered)).toEqual(registered);
  });

  test.each([
    ['nothing', ''],
    ['no JSON', '{"Data":'],
    ['no data', '{"Checksum":1}'],
    ['null', 'null'],
    ['a changed device', ONE_DEVICE.replace('tegra', 'other')],
    ['another checksum', ONE_DEVICE.replace('3660592824', '1')],
    ['lists that are none', '{"Data":{"PodDeviceEntries":{},"RegisteredDevices":[]},"Checksum":1}'],
  ])('with %s is refused', (_what, text) => {
    expect(() => parseCheckpoint(text)).toThrow();
  });
});

describe('the file', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(path.join(tmpdir(), 'nodelet-devices-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test('that is missing is none; one that is broken says so', async () => {
    const file = path.join(dir, 'kubelet_internal_checkpoint');
    expect(await readCheckpoint(file)).toBeUndefined();
    writeFileSync(file, ONE_DEVICE);
    expect((await readCheckpoint(file))?.grants).toHaveLength(1);
    writeFileSync(file, ONE_DEVICE.slice(0, 100));
    await expect(readCheckpoint(file)).rejects.toThrow();
  });
});
