// What `nodelet doctor` finds, and what it looks at.
import type { Exec } from '../host/exec.ts';

export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly check: string;
  /** fail: no node can run. warn: it runs, with a limit or after a setting. */
  readonly level: Level;
  readonly message: string;
  /** The command, or the setting, that mends it. */
  readonly remedy?: string;
}

/** What the container runtime says of itself. */
export interface RuntimeFacts {
  readonly name: string;
  readonly version: string;
  readonly apiVersion: string;
  readonly ready: boolean;
  /** Who makes the runtime's cgroups; undefined where it does not say. */
  readonly cgroupDriver: 'systemd' | 'cgroupfs' | undefined;
  /** The agent can ask for it too, and takes it whatever is configured. */
  readonly driverIsTaken: boolean;
}

/** The host as the checks see it. */
export interface Host {
  readonly uid: number;
  readonly exec: Exec;
  /** Undefined when there is no such file; rejects for anything else. */
  readonly read: (file: string) => Promise<string | undefined>;
  readonly exists: (file: string) => Promise<boolean>;
  readonly programPath: readonly string[];
  /** `name (pid N)` of the program that listens on a TCP port; undefined when it is free. */
  readonly portHolder: (port: number) => Promise<string | undefined>;
  /** Shares (0 to 1) of the file system of `dir`, or of its nearest parent, that are free. */
  readonly freeShares: (dir: string) => Promise<{ readonly bytes: number; readonly inodes: number }>;
  readonly hostname: string;
  readonly now: () => number;
  /** Rejects when the runtime does not answer. */
  readonly askRuntime: (endpoint: string) => Promise<RuntimeFacts>;
}

export interface DoctorOptions {
  readonly runtimeEndpoint: string;
  readonly cniBinDir: string;
  readonly cgroupDriver: 'systemd' | 'cgroupfs';
  readonly failSwapOn: boolean;
  readonly failCgroupV1: boolean;
  readonly kernelParameters: 'set' | 'check' | 'leave';
  /** Ports that the parts listen on, each with the setting that names it; a node can run without those that are not needed. */
  readonly ports: readonly { readonly port: number; readonly setting: string; readonly needed: boolean }[];
  readonly certDir: string;
  readonly rootDir: string;
  /** --hostname-override; the host name counts where it is absent. */
  readonly nodeName: string | undefined;
  /** Somebody wrote a configuration: what it demands is certain, not a default. */
  readonly configured: boolean;
}

export type Check = (host: Host, opts: DoctorOptions) => Promise<Finding[]>;

export function finding(check: string, level: Level, message: string, remedy?: string): Finding {
  return { check, level, message, ...(remedy === undefined ? {} : { remedy }) };
}
