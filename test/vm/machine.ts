// A virtual machine in qemu's software emulation: no KVM is needed. It hangs on the bridge of a lab, where the lab's API
// server and nodes reach it, and takes scripts from the suite over a TCP port of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../../core/clock.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { LAB_MARK_ENV } from '../harness/host-snapshot.ts';
import { copyImage, type VmImage } from './image.ts';
import { EXIT_MARK, SHELL_PORT } from './image-files.ts';

const BOOT_MS = 600_000;
const POWER_OFF_MS = 600_000;
const SCRIPT_MS = 300_000;
const ASK_MS = 20_000;
const CONNECT_MS = 30_000;
const ASK_AGAIN_MS = 200;
const TAP = 'vm0';

/** Why no machine can run here; undefined when one can. */
export function machineMissing(): string | undefined {
  if (process.arch !== 'x64') return 'its image is made for x86-64 only';
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  const places = ['/usr/bin', '/usr/sbin', '/bin', '/sbin'];
  for (const program of ['qemu-system-x86_64', 'debootstrap', 'mkfs.ext4', 'setpriv']) {
    if (!places.some((dir) => existsSync(path.join(dir, program)))) return `${program} is not installed`;
  }
  return undefined;
}

export interface MachineOptions {
  /** For its disk and logs; belongs to a lab, whose mark the process bears. */
  readonly dir: string;
  readonly labDir: string;
  readonly hostname: string;
  /** The network namespace and the bridge in it to which the machine is connected. */
  readonly netns: string;
  readonly bridge: string;
  readonly ip: string;
  readonly gateway: string;
  readonly memoryMib: number;
  /** qemu's options for its processors and NUMA nodes; two plain processors otherwise. */
  readonly processors?: readonly string[];
  /** A file that the machine sees as its second disk, /dev/vdb. */
  readonly secondDisk: string;
}

export class ScriptFailed extends Error {}

export class Machine implements AsyncDisposable {
  readonly #opts: MachineOptions;
  readonly #image: VmImage;
  #process: ChildProcess | undefined;

  private constructor(opts: MachineOptions, image: VmImage) {
    this.#opts = opts;
    this.#image = image;
  }

  /** With a disk of its own and its wire, switched off. */
  static async create(opts: MachineOptions): Promise<Machine> {
    const machine = new Machine(opts, await copyImage(opts.dir));
    const lines = [`tuntap add ${TAP} mode tap`, `link set ${TAP} master ${opts.bridge} up`];
    await execOk(systemExec, 'ip', ['-n', opts.netns, '-batch', '-'], { input: `${lines.join('\n')}\n` });
    return machine;
  }

  /** Switches it on and resolves when it takes scripts. */
  async boot(): Promise<void> {
    if (this.#process !== undefined) throw new Error('the machine runs');
    await using log = await open(path.join(this.#opts.dir, 'qemu.log'), 'a');
    // Killed with this process, however that ends: nothing else would end a machine that hangs.
    const first = ['netns', 'exec', this.#opts.netns, 'setpriv', '--pdeathsig=KILL'];
    const child = spawn('ip', [...first, 'qemu-system-x86_64', ...this.#arguments()], {
      stdio: ['ignore', log.fd, log.fd],
      env: { ...process.env, [LAB_MARK_ENV]: this.#opts.labDir },
    });
    child.once('close', () => {
      this.#process = undefined;
    });
    await once(child, 'spawn');
    this.#process = child;
    await this.untilUp();
  }

  #arguments(): string[] {
    const { dir, hostname, ip, gateway, memoryMib, secondDisk, processors = ['-smp', '2'] } = this.#opts;
    const kernel = [
      ...['root=/dev/vda', 'rw', 'console=ttyS0', 'quiet', 'panic=-1', 'net.ifnames=0', 'mitigations=off'],
      // A host with other things to do may be too slow for the kernel's test of its timer, which ends the boot.
      ...['no_timer_check', 'tsc=reliable', 'nowatchdog', 'systemd.show_status=true', `systemd.hostname=${hostname}`],
      ...[`vm.address=${ip}/24`, `vm.gateway=${gateway}`],
    ];
    const lines = [
      '-M pc -accel tcg,thread=multi -cpu max -nodefaults -no-user-config -display none -no-reboot',
      `-netdev tap,id=net0,ifname=${TAP},script=no,downscript=no -device virtio-net-pci,netdev=net0,romfile=`,
      '-device virtio-rng-pci',
    ];
    return [
      ...lines.flatMap((line) => line.split(' ')),
      ...processors,
      ...['-m', String(memoryMib), '-kernel', this.#image.kernel, '-initrd', this.#image.initrd],
      ...['-append', kernel.join(' ')],
      ...['-drive', `file=${this.#image.disk},format=raw,if=virtio,cache=unsafe,discard=unmap`],
      ...['-drive', `file=${secondDisk},format=raw,if=virtio,readonly=on`],
      ...['-chardev', `file,id=console,path=${path.join(dir, 'console.log')},append=on`, '-serial', 'chardev:console'],
      ...['-qmp', `unix:${path.join(dir, 'qmp.sock')},server=on,wait=off`],
    ];
  }

  /** Waits until scripts are taken: a machine says nothing of it to the outside. */
  async untilUp(): Promise<void> {
    const endMs = Date.now() + BOOT_MS;
    for (;;) {
      if (this.#process === undefined) throw new Error(`the machine ended:\n${await this.console()}`);
      try {
        await this.script('true', ASK_MS);
        return;
      } catch (err) {
        if (Date.now() > endMs) throw new Error(`the machine does not boot: ${String(err)}\n${await this.console()}`);
      }
      await systemClock.sleep(ASK_AGAIN_MS);
    }
  }

  /**
   * Runs a script of bash inside as root and tells what it wrote, both streams together.
   * @throws {ScriptFailed} with that when its exit code is not 0; or what the connection failed of
   */
  async script(text: string, timeoutMs = SCRIPT_MS): Promise<string> {
    const socket = connect({ host: this.#opts.ip, port: SHELL_PORT });
    const timer = setTimeout(
      () => socket.destroy(new Error(`no answer within ${timeoutMs} ms to: ${text}`)),
      timeoutMs,
    );
    try {
      socket.end(text);
      let output = '';
      for await (const chunk of socket.setEncoding('utf8')) output += chunk as string;
      const end = output.lastIndexOf(EXIT_MARK);
      if (end === -1) throw new Error(`the connection ended before the script: ${text}\n${output}`);
      const code = Number(output.slice(end + EXIT_MARK.length));
      if (code !== 0) throw new ScriptFailed(`exit ${code}: ${text}\n${output.slice(0, end)}`);
      return output.slice(0, end);
    } finally {
      clearTimeout(timer);
      socket.destroy();
    }
  }

  /**
   * Restarts it in an orderly way and resolves when it takes scripts again. At its end the machine resets itself, which
   * ends this qemu: the next kernel takes five times as long to boot in one that has run a kernel before.
   */
  async reboot(): Promise<void> {
    await this.script('systemctl --no-block reboot');
    await this.untilOff();
    await this.boot();
  }

  /** Presses the power button. */
  async pressPowerButton(): Promise<void> {
    const socket = connect(path.join(this.#opts.dir, 'qmp.sock'));
    const timer = setTimeout(() => socket.destroy(new Error('qemu does not answer')), CONNECT_MS);
    try {
      const commands = ['qmp_capabilities', 'system_powerdown'];
      socket.write(commands.map((execute) => `${JSON.stringify({ execute })}\n`).join(''));
      let answers = 0;
      for await (const line of createInterface({ input: socket })) {
        if (line.startsWith('{"error"')) throw new Error(line);
        if (line.startsWith('{"return"')) answers++;
        if (answers === commands.length) return;
      }
      throw new Error('qemu closed the connection');
    } finally {
      clearTimeout(timer);
      socket.destroy();
    }
  }

  /** Resolves when the machine has switched itself off. */
  async untilOff(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const timeout = AbortSignal.timeout(POWER_OFF_MS);
    try {
      await once(child, 'close', { signal: timeout });
    } catch (err) {
      throw new Error(`the machine does not switch itself off: ${String(err)}\n${await this.console()}`);
    }
  }

  /** Takes the power away. */
  async cutPower(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  }

  /** A file of a machine that is off. @throws when it is not there */
  async readDisk(file: string): Promise<string> {
    if (this.#process !== undefined) throw new Error('the machine runs');
    const { stdout, stderr } = await systemExec('debugfs', ['-R', `cat ${file}`, this.#image.disk]);
    if (stderr.includes('File not found')) throw new Error(`${file}: ${stderr}`);
    return stdout;
  }

  /** The end of what it and qemu said. */
  async console(): Promise<string> {
    const read = (file: string) => readFile(path.join(this.#opts.dir, file), 'utf8').catch(() => '');
    return (await read('qemu.log')) + (await read('console.log')).slice(-6000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cutPower();
    await systemExec('ip', ['-n', this.#opts.netns, 'link', 'delete', TAP]);
  }
}
