// flannel's net-conf.json: the range of all pods and the backend, for whoever comes from flannel.
import { errnoOf, errorMessage } from '../../core/errors.ts';
import { nodeletFields } from './fields.ts';
import { type FileAccess, unreadable } from './files.ts';
import { entriesOf, type Report } from './values.ts';

export const NET_CONF = '/etc/kube-flannel/net-conf.json';

/** As fields of NodeletConfiguration; `{}` when the file at its usual place does not exist. */
export async function readNetConf(
  file: string | undefined,
  access: FileAccess,
  fault: (problem: string) => void,
): Promise<Record<string, unknown>> {
  const where = `--net-config-path=${file ?? NET_CONF}`;
  let content: unknown;
  try {
    content = JSON.parse(await access.readFile(file ?? NET_CONF));
  } catch (err) {
    if (file === undefined && errnoOf(err) === 'ENOENT') return {};
    fault(`${where}: ${err instanceof SyntaxError ? `is not JSON: ${errorMessage(err)}` : unreadable(err)}`);
    return {};
  }
  const report: Report = (at, problem) => fault(`${where}: ${at}: ${problem}`);
  const entries = entriesOf(content, 'the document', report);
  if (entries === undefined) return {};
  const backend = Object.hasOwn(entries, 'Backend') ? entriesOf(entries.Backend, 'Backend', report) : undefined;
  return {
    ...value('clusterCIDR', entries.Network, 'Network', report),
    ...value('networkBackend', lookup(backend, 'Type'), 'Backend.Type', report),
    ...value('vni', lookup(backend, 'VNI'), 'Backend.VNI', report),
    ...value('vxlanPort', lookup(backend, 'Port'), 'Backend.Port', report),
  };
}

function value(
  name: keyof typeof nodeletFields,
  written: unknown,
  at: string,
  report: Report,
): Record<string, unknown> {
  if (written === undefined || written === 0) return {};
  const read = nodeletFields[name].type.read(written, at, report);
  return read === undefined ? {} : { [name]: read };
}

/** Keys of the backend are matched without regard to case, as Go's JSON decoder does. */
function lookup(backend: Readonly<Record<string, unknown>> | undefined, key: string): unknown {
  return Object.entries(backend ?? {}).find(([name]) => name.toLowerCase() === key.toLowerCase())?.[1];
}
