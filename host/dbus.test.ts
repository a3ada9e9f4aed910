import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { DBusConnection } from './dbus.ts';
import { type DBusValue, marshal, splitSignature, unmarshal, Variant } from './dbus-wire.ts';

describe('values on the bus', () => {
  test.each<[string, DBusValue[]]>([
    ['ybnqiuxtds', [255, true, -2, 65_535, -3, 4_000_000_000, -5n, 2n ** 64n - 1n, 1.5, 'é']],
    ['ay', [[1, 2, 3]]],
    ['ya(sv)', [1, [['Description', new Variant('s', 'x')], ['Wants', new Variant('as', ['a.slice'])]]]], // biome-ignore format: pairs
    ['a{sv}at', [[['k', new Variant('t', 5n)]], []]],
    ['ssa(sv)a(sa(sv))', ['a.slice', 'replace', [], []]],
  ])('%s comes back as it went', (signature, values) => {
    expect(unmarshal(signature, marshal(signature, values))).toEqual(values);
  });

  test('bytes as the specification has them', () => {
    expect(marshal('yu', [1, 2]).toString('hex')).toBe('0100000002000000');
    expect(marshal('s', ['ab']).toString('hex')).toBe('02000000616200');
    expect(marshal('at', [[1]]).toString('hex')).toBe('08000000000000000100000000000000'); // padded behind the length
    expect(splitSignature('sa(sv)a{s(ii)}')).toEqual(['s', 'a(sv)', 'a{s(ii)}']);
  });

  test.each([
    ['s', '05000000616200'],
    ['as', 'ffffff7f'],
    ['v', '0273730000'],
    ['a(s', ''],
    ['a()', '0800000000000000'],
    [`${'a'.repeat(40)}y`, '00000000'],
  ])('%s with %s is refused', (signature, hex) => {
    expect(() => unmarshal(signature, Buffer.from(hex, 'hex'))).toThrow('cannot read');
  });
});

const CONFIG = (socket: string) => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>`;
const hasDaemon = spawnSync('dbus-daemon', ['--version']).status === 0;
const BUS = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };

describe.skipIf(!hasDaemon)('a bus', () => {
  let daemon: ChildProcess | undefined;
  let dir: string;
  afterEach(async () => {
    if (daemon?.exitCode === null) {
      daemon.kill();
      await once(daemon, 'exit');
    }
    await rm(dir, { recursive: true, force: true });
  });

  async function startBus(): Promise<string> {
    dir = await mkdtemp(path.join(tmpdir(), 'dbus-'));
    const socket = path.join(dir, 'bus');
    await writeFile(path.join(dir, 'bus.conf'), CONFIG(socket));
    const args = [`--config-file=${path.join(dir, 'bus.conf')}`, '--nofork', '--nopidfile', '--print-address'];
    daemon = spawn('dbus-daemon', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    await once(daemon.stdout!, 'data'); // it listens by then
    return socket;
  }

  test('answers calls, tells errors by their name, and sends signals that were asked for', async () => {
    using bus = await DBusConnection.open(await startBus());
    const [names] = await bus.call({ ...BUS, member: 'ListNames' });
    expect(names).toContain('org.freedesktop.DBus');
    const unknown = { ...BUS, member: 'GetNameOwner', signature: 's', body: ['no.such.name'] };
    await expect(bus.call(unknown)).rejects.toMatchObject({
      code: 'DBUS_CALL_FAILED',
      details: { name: 'org.freedesktop.DBus.Error.NameHasNoOwner' },
    });
    const owned = Promise.withResolvers<readonly DBusValue[]>();
    using _signals = bus.onSignal(({ member, body }) => {
      if (member === 'NameOwnerChanged') owned.resolve(body);
    });
    await bus.call({ ...BUS, member: 'AddMatch', signature: 's', body: ["type='signal',member='NameOwnerChanged'"] });
    await bus.call({ ...BUS, member: 'RequestName', signature: 'su', body: ['org.example.Test', 0] });
    expect((await owned.promise)[0]).toBe('org.example.Test');
  });

  test('calls that wait end with the connection, and later ones fail at once', async () => {
    const bus = await DBusConnection.open(await startBus());
    const calls = [1, 2].map(() => bus.call({ ...BUS, member: 'ListNames' }));
    bus[Symbol.dispose]();
    for (const call of [...calls, bus.call({ ...BUS, member: 'ListNames' })]) {
      await expect(call).rejects.toMatchObject({ code: 'DBUS_UNREACHABLE' });
    }
    expect(bus.isOpen).toBe(false);
  });

  test('nobody there, and one who does not let us in', async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'dbus-'));
    const socket = path.join(dir, 'bus');
    await expect(DBusConnection.open(socket)).rejects.toMatchObject({ code: 'DBUS_UNREACHABLE' });
    const server = createServer((peer) => peer.resume().end('REJECTED ANONYMOUS\r\n')).listen(socket);
    await once(server, 'listening');
    await expect(DBusConnection.open(socket)).rejects.toThrow('the bus refused us');
    server.close();
    await once(server, 'close');
  });
});
