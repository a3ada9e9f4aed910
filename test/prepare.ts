// Fetches and makes, ahead of the suites on the real system, what they take from the caches of the working tree: on a
// fresh machine that is a minute or two of packages and disks, beside the first suites. What cannot be had here is told by
// the suite that wants it, which tries again.
import { errorMessage } from '../core/errors.ts';
import { labMissing } from './harness/cluster.ts';
import { CONTAINERD_VERSIONS, containerdPrograms } from './harness/containerd.ts';
import { findEtcd } from './harness/etcd.ts';
import { findKubectl, KUBECTL_VERSIONS } from './harness/kubectl.ts';
import { findNewerRunc } from './harness/newer-runc.ts';
import { findPrometheus } from './harness/prometheus.ts';
import { ensureImage } from './vm/image.ts';
import { machineMissing } from './vm/machine.ts';

async function fetchPrograms(): Promise<void> {
  for (const version of KUBECTL_VERSIONS) await findKubectl(version);
  for (const version of CONTAINERD_VERSIONS) await containerdPrograms(version);
  for (const find of [findNewerRunc, findPrometheus, findEtcd]) await find();
}

const works = labMissing() === undefined ? [fetchPrograms()] : [];
if (works.length > 0 && machineMissing() === undefined) works.push(ensureImage());
for (const outcome of await Promise.allSettled(works)) {
  if (outcome.status === 'rejected') console.warn(errorMessage(outcome.reason));
}
