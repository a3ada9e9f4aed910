// Times the changes that are made to cgroups.
import type { CgroupTree } from './cgroup.ts';

/** `operation` as upstream's metric of the cgroup manager names it. */
export type CgroupObserver = (operation: 'create' | 'update' | 'destroy', tookSeconds: number) => void;

const OPERATIONS = { make: 'create', setLimits: 'update', remove: 'destroy' } as const;

/** `fs`, whose changes `observe` is told of once they have ended, however they ended. */
export function observedCgroups(fs: CgroupTree, observe: CgroupObserver): CgroupTree {
  return new Proxy(fs, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function') return member;
      const operation = OPERATIONS[name as keyof typeof OPERATIONS];
      if (operation === undefined) return member.bind(target);
      return async (...args: unknown[]) => {
        const startMs = performance.now();
        try {
          return await (member.apply(target, args) as Promise<unknown>);
        } finally {
          observe(operation, (performance.now() - startMs) / 1000);
        }
      };
    },
  });
}
