// Before the suites of the virtual machine: its image, or the reason why there is none.
import type { TestProject } from 'vitest/node';
import { errorMessage, isAgentError } from '../../core/errors.ts';
import { labMissing } from '../harness/cluster.ts';
import { findKubectl } from '../harness/kubectl.ts';
import { ensureImage } from './image.ts';
import { machineMissing } from './machine.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Why the suites are skipped; '' when they are not. */
    vmMissing: string;
  }
}

export default async function setup(project: TestProject): Promise<void> {
  const missing = labMissing() ?? machineMissing() ?? (await kubectlMissing()) ?? (await imageMissing());
  if (missing !== undefined) console.warn(`tests in a virtual machine are skipped: ${missing}`);
  project.provide('vmMissing', missing ?? '');
}

async function kubectlMissing(): Promise<string | undefined> {
  const found = await findKubectl('1.36');
  return 'missing' in found ? found.missing : undefined;
}

/** Only packages that cannot be had are a reason to skip; a recipe that does not work is a fault. */
async function imageMissing(): Promise<string | undefined> {
  try {
    await ensureImage();
    return undefined;
  } catch (err) {
    if (isAgentError(err, 'VM_PACKAGES')) return errorMessage(err);
    throw err;
  }
}
