// Whether this host enforces AppArmor profiles, as libcontainer finds out.
import { access, readFile } from 'node:fs/promises';
import path from 'node:path';

/** `sysRoot` is `/sys` but in tests. */
export async function appArmorEnabled(sysRoot = '/sys'): Promise<boolean> {
  try {
    await access(path.join(sysRoot, 'kernel/security/apparmor'));
    return (await readFile(path.join(sysRoot, 'module/apparmor/parameters/enabled'), 'utf8')).startsWith('Y');
  } catch {
    return false; // not built in, or its file system not mounted: nothing would be enforced
  }
}
