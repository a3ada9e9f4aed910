// Takes a pod's volumes away as the agent does, and is killed at the given step of it: a look at the mount table, an
// unmount, or the removal of one entry. Arguments: root directory, uid of the pod, number of the step.
import type { ObjectReference } from '../../api/kinds.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { systemExec } from '../../host/exec.ts';
import { type Mounter, systemMounter } from '../../host/mounts.ts';
import { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';

const [rootDir = '', podUid = '', step = ''] = process.argv.slice(2);
let stepsLeft = Number(step);

function nextStep(): void {
  stepsLeft -= 1;
  if (stepsLeft === 0) process.kill(process.pid, 'SIGKILL');
}

const real = systemMounter(systemExec);
const mounter: Mounter = {
  ...real,
  list() {
    nextStep();
    return real.list();
  },
  async unmount(dir, signal) {
    nextStep();
    await real.unmount(dir, signal);
    nextStep();
  },
};
/** Asked before each entry that is removed. */
const { signal } = new AbortController();
Object.defineProperty(signal, 'throwIfAborted', { value: nextStep });

const deps = { client: new FakeApi(), clock: systemClock, log: silentLog };
const volumes = new LocalVolumes(
  { rootDir, nodeMemoryBytes: 0 },
  {
    ...deps,
    objects: new ObjectCache(deps),
    tokens: new TokenManager({ ...deps, onRefreshDue: () => {} }),
    mounter,
    fieldFacts: () => ({ podIps: [], hostIps: [], nodeAllocatable: {} }),
    events: { event: (_: ObjectReference) => {} },
  },
);
await volumes.removePodDir(podUid, signal);
process.exit(0);
