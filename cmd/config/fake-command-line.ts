// The command line and the disk of a host, for tests: arguments go through commander as in the program.
import { Command } from 'commander';
import { expect } from 'vitest';
import { AgentError } from '../../core/errors.ts';
import type { Which } from './flag-table.ts';
import { addAgentOptions, type FlagTexts } from './flags.ts';
import type { ParseDeps } from './input.ts';
import { type ParsedConfig, parseAgentConfig } from './parse.ts';

export const KUBECONFIG = ['--kubeconfig=/kc'];
export const STANDALONE = ['--parts=kubelet'];

/** A disk with these files and a host called Host-A. */
export function disk(files: Readonly<Record<string, string>>): ParseDeps {
  const missing = (): Error => Object.assign(new Error('gone'), { code: 'ENOENT' });
  return {
    readFile: async (file) => {
      const content = { '/kc': 'kind: Config', ...files }[file];
      if (content === undefined) throw missing();
      return content;
    },
    listFiles: async (dir) => {
      const names = Object.keys(files).filter((name) => name.startsWith(`${dir}/`));
      if (names.length === 0) throw missing();
      return names.map((name) => name.slice(dir.length + 1));
    },
    hostname: () => ' Host-A\n',
    nodeNameVariable: () => 'Pod-Says-B',
  };
}

/** Runs the arguments through commander as the program does; what it prints is in `printed`. */
export async function commandLine(
  which: Which,
  args: readonly string[],
): Promise<{ flags: FlagTexts; printed: string }> {
  let flags: FlagTexts = {};
  let printed = '';
  const program = new Command('nodelet').exitOverride().configureOutput({
    writeErr: (text) => {
      printed += text;
    },
    writeOut: (text) => {
      printed += text;
    },
  });
  const command = program.command(which);
  addAgentOptions(command, which);
  command.action((opts: FlagTexts) => {
    flags = opts;
  });
  await program.parseAsync([which, ...args], { from: 'user' }).catch(() => {}); // printed tells
  return { flags, printed };
}

export async function parse(
  args: readonly string[],
  files: Readonly<Record<string, string>> = {},
  which: Which = 'agent',
): Promise<ParsedConfig> {
  const { flags, printed } = await commandLine(which, args);
  expect(printed).toBe('');
  return await parseAgentConfig(which, flags, disk(files));
}

export async function faultsOf(
  args: readonly string[],
  files: Readonly<Record<string, string>> = {},
  which: Which = 'agent',
): Promise<readonly string[]> {
  const err: unknown = await parse(args, files, which).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(err).toBeInstanceOf(AgentError);
  expect((err as AgentError).code).toBe('CONFIG_INVALID');
  return (err as AgentError).details!.faults as readonly string[];
}

export const kubelet = (text: string): string =>
  `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${text}`;
export const proxy = (text: string): string =>
  `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${text}`;
export const nodelet = (text: string): string =>
  `apiVersion: nodelet.dev/v1alpha1\nkind: NodeletConfiguration\n${text}`;
