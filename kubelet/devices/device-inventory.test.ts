import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { DeviceInventory } from './device-inventory.ts';
import { devicesTold } from './device-types.ts';
import { FakeDevicePlugin, told } from './fake-device-plugin.ts';

const GPU = 'example.com/gpu';
const OPTIONS = { preStartRequired: false, getPreferredAllocationAvailable: false };

let clock: FakeClock;
let inventory: DeviceInventory;
let news: number;
let health: [string, string[]][];
let plugin: FakeDevicePlugin;

beforeEach(() => {
  clock = new FakeClock();
  news = 0;
  health = [];
  plugin = new FakeDevicePlugin();
  const listener = {
    amountsChanged: () => news++,
    healthChanged: (resource: string, ids: ReadonlySet<string>) => health.push([resource, [...ids]]),
  };
  inventory = new DeviceInventory(listener, { clock });
});

const connect = (by = plugin) => inventory.connected(GPU, { plugin: by, options: OPTIONS });
const tell = (text: string, by = plugin) => inventory.update(GPU, by, told(text));
const amounts = () => Object.fromEntries(inventory.amounts());

describe('what a plugin tells', () => {
  test('counts once it has told something', () => {
    connect();
    expect(amounts()).toEqual({});
    expect(inventory.has(GPU)).toBe(false);
    tell('a b !c');
    expect(amounts()).toEqual({ [GPU]: { capacity: 3, allocatable: 2 } });
    expect(inventory.healthy(GPU)).toEqual(new Set(['a', 'b']));
    expect(news).toBe(1);
  });

  test('is news only when it differs', () => {
    connect();
    tell('a b');
    tell('b a');
    expect(news).toBe(1);
    tell('a !b');
    tell('!a b'); // as many as before, but others
    expect(news).toBe(3);
    expect(health.at(-1)).toEqual([GPU, ['a', 'b']]);
    tell('');
    expect(amounts()).toEqual({ [GPU]: { capacity: 0, allocatable: 0 } });
  });

  test('of one id twice counts once, as told last', () => {
    connect();
    tell('a !a b');
    expect(amounts()).toEqual({ [GPU]: { capacity: 2, allocatable: 1 } });
  });

  test('any other word than Healthy is not', () => {
    connect();
    inventory.update(
      GPU,
      plugin,
      devicesTold([
        { ID: 'a', health: 'healthy' },
        { ID: 'b', health: '' },
      ]),
    );
    expect(amounts()).toEqual({ [GPU]: { capacity: 2, allocatable: 0 } });
  });

  test('goes unheard when another has taken its place', () => {
    connect();
    tell('a');
    const second = new FakeDevicePlugin();
    connect(second);
    tell('a b c');
    expect(amounts()).toEqual({ [GPU]: { capacity: 1, allocatable: 1 } });
    inventory.disconnected(GPU, plugin);
    expect(inventory.serving(GPU)?.plugin).toBe(second);
    tell('x y', second);
    expect(amounts()).toEqual({ [GPU]: { capacity: 2, allocatable: 2 } });
  });
});

describe('a plugin that goes', () => {
  test('leaves its devices, none of them healthy, for five minutes', async () => {
    connect();
    tell('a b');
    inventory.disconnected(GPU, plugin);
    expect(amounts()).toEqual({ [GPU]: { capacity: 2, allocatable: 0 } });
    expect(inventory.serving(GPU)).toBeUndefined();
    await clock.advance(299_999);
    expect(inventory.has(GPU)).toBe(true);
    await clock.advance(1);
    expect(inventory.has(GPU)).toBe(false);
    expect(amounts()).toEqual({ [GPU]: { capacity: 0, allocatable: 0 } });
    expect([...inventory.registered()]).toEqual([]);
    expect([...inventory.names]).toEqual([GPU]);
    expect(news).toBe(3);
    expect(clock.sleeping).toBe(0);
  });

  test('before it has told anything leaves a resource without devices', () => {
    connect();
    inventory.disconnected(GPU, plugin);
    expect(amounts()).toEqual({ [GPU]: { capacity: 0, allocatable: 0 } });
    expect(news).toBe(1);
  });

  test('and comes back in time has its devices again', async () => {
    connect();
    tell('a b');
    inventory.disconnected(GPU, plugin);
    await clock.advance(200_000);
    connect();
    expect(clock.sleeping).toBe(0);
    expect(amounts()).toEqual({ [GPU]: { capacity: 2, allocatable: 0 } });
    tell('a b');
    expect(amounts()).toEqual({ [GPU]: { capacity: 2, allocatable: 2 } });
  });

  test('of the agent before this one is waited for as long', async () => {
    inventory.restore([GPU]);
    expect(amounts()).toEqual({ [GPU]: { capacity: 0, allocatable: 0 } });
    expect(inventory.has(GPU)).toBe(true);
    await clock.advance(300_000);
    expect(inventory.has(GPU)).toBe(false);
    connect();
    tell('a');
    expect(amounts()).toEqual({ [GPU]: { capacity: 1, allocatable: 1 } });
  });
});

test('a hundred thousand devices are taken', () => {
  connect();
  const many = Array.from({ length: 100_000 }, (_, i) => ({
    ID: `device-${i}`,
    health: i % 2 === 0 ? 'Healthy' : 'x',
  }));
  inventory.update(GPU, plugin, devicesTold(many));
  expect(amounts()).toEqual({ [GPU]: { capacity: 100_000, allocatable: 50_000 } });
});

describe('a plugin that the agent before this one knew', () => {
  const isBack = async () => {
    let back = false;
    void inventory.untilBack(GPU).then(() => {
      back = true;
    });
    await clock.advance(0);
    return back;
  };

  test('is waited for until it tells its devices', async () => {
    inventory.restore([GPU]);
    expect(await isBack()).toBe(false);
    connect();
    expect(await isBack()).toBe(false);
    tell('a');
    expect(await isBack()).toBe(true);
  });

  test('is not waited for longer than fifteen seconds since it can register, nor by who ends', async () => {
    inventory.restore([GPU]);
    await clock.advance(3_000);
    inventory.opened();
    await clock.advance(14_999);
    expect(await isBack()).toBe(false);
    await clock.advance(1);
    expect(await isBack()).toBe(true);
    const other = new DeviceInventory({ amountsChanged: () => {}, healthChanged: () => {} }, { clock });
    other.restore([GPU]);
    const ended = other.untilBack(GPU);
    other[Symbol.dispose]();
    await ended;
    inventory.opened(); // nobody is waited for
    expect(clock.sleeping).toBe(1); // that the resource goes
  });

  test('that never can register is not waited for either', async () => {
    inventory.restore([GPU]);
    await clock.advance(15_000);
    expect(await isBack()).toBe(true);
  });

  test('is the only one that is waited for', async () => {
    expect(await isBack()).toBe(true);
    connect();
    expect(await isBack()).toBe(true);
  });
});
