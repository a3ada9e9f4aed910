// The test device plugin as a process of its own: `node device-plugin-main.ts SETTINGS`, with DevicePluginSettings as JSON.
// As plugins of the field do, it registers whenever the node's socket is made anew. Each line of standard input is an order
// in JSON; what happens is told on standard output.
import { lstatSync, watch } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { PluginDevice } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { type DevicePluginSettings, TestDevicePlugin } from './device-plugin.ts';

export interface Order {
  readonly devices?: readonly Init<PluginDevice>[];
  /** The next call of this method is never answered. */
  readonly hang?: 'Allocate' | 'PreStartContainer';
}

let settings = JSON.parse(process.argv[2] ?? '{}') as DevicePluginSettings;
function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

let plugin: TestDevicePlugin | undefined;
let registeredAt: string | undefined;
let working: Promise<void> = Promise.resolve();

function identity(): string | undefined {
  const stat = lstatSync(path.join(settings.dir, 'kubelet.sock'), { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.ino}.${stat.birthtimeNs}`;
}

async function registerAnew(): Promise<void> {
  const now = identity();
  if (now === undefined || now === registeredAt) return;
  await plugin?.[Symbol.asyncDispose]();
  plugin = new TestDevicePlugin(settings);
  plugin.onCall = (call) => {
    say({ call });
    if (call !== 'ListAndWatch' && call !== 'GetDevicePluginOptions') plugin!.faults.delete(call);
  };
  await plugin.serve();
  await plugin.register();
  registeredAt = now;
  say({ registered: true });
}

/** A node that is only half there refuses; its socket's next change makes another try. */
function look(): void {
  working = working.then(registerAnew).catch((err: unknown) => say({ error: String(err) }));
}

watch(settings.dir, look);
setInterval(look, 1000); // a refusal is followed by no change
look();

const orders = createInterface({ input: process.stdin });
orders.on('close', () => process.exit(0)); // whoever started it has gone
orders.on('line', (line) => {
  const { devices, hang } = JSON.parse(line) as Order;
  if (devices !== undefined) {
    settings = { ...settings, devices };
    plugin?.setDevices(devices);
  }
  if (hang !== undefined) plugin?.faults.set(hang, '');
  say({ done: true });
});
