import { expect, test } from 'vitest';
import { checkParameters, KERNEL_PARAMETERS, setParameters } from './kernel-part.ts';

function kernel(values: Readonly<Record<string, string>>) {
  const written: Record<string, string> = {};
  return {
    written,
    read: async (name: string) => values[name],
    set: async (name: string, value: string) => {
      if (values[name] === undefined) return false;
      written[name] = value;
      return true;
    },
  };
}

test('parameters that differ are all named', async () => {
  await expect(checkParameters(kernel(KERNEL_PARAMETERS))).resolves.toBeUndefined();
  const wrong = kernel({ ...KERNEL_PARAMETERS, 'vm/overcommit_memory': '0', 'kernel/panic': '0' });
  await expect(checkParameters(wrong)).rejects.toMatchObject({
    code: 'KERNEL_PARAMETERS',
    message:
      'invalid kernel flag: vm/overcommit_memory, expected value: 1, actual value: 0; invalid kernel flag: kernel/panic, expected value: 10, actual value: 0',
  });
});

test('a parameter that may not be written is an error that tells how to leave it', async () => {
  const set = (name: string) => Promise.reject(new Error(`cannot set ${name}: Read-only file system`));
  await expect(setParameters({ set })).rejects.toMatchObject({
    code: 'SYSCTL_REFUSED',
    message: 'cannot set vm/overcommit_memory: Read-only file system',
    hint: expect.stringContaining('kernelParameters: leave'),
  });
});

test('all are set, without those that the kernel does not have', async () => {
  const { 'kernel/keys/root_maxkeys': _, ...known } = KERNEL_PARAMETERS;
  const host = kernel(known);
  await setParameters(host);
  expect(host.written).toEqual(known);
});
