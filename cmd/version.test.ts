import { Command } from 'commander';
import { expect, test, vi } from 'vitest';
import { addCommand } from './agent.ts';
import { KUBERNETES_VERSION, upstreamVersion } from './version.ts';

test('what kubeadm reads from the output of --version', () => {
  expect(upstreamVersion('true')).toBe(`Kubernetes ${KUBERNETES_VERSION}`);
  expect(upstreamVersion('raw')).toMatch(/^version\.Info\{Major:"1", Minor:"36", GitVersion:"v1\.36\.\d+", .*\}$/);
});

test.each([
  [['kubelet', '--version'], /^Kubernetes v1\.36\.\d+$/],
  [['kubelet', '--version=raw'], /^version\.Info\{/],
  [['proxy', '--version'], /^Kubernetes v1\.36\.\d+$/],
])('%j asks for nothing else', async (args, printed) => {
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  try {
    const program = new Command('nodelet').exitOverride();
    addCommand(program);
    await program.parseAsync(args, { from: 'user' });
    expect(log.mock.calls).toEqual([[expect.stringMatching(printed)]]);
  } finally {
    log.mockRestore();
  }
});
