// flannel's net-conf.json: the range of all pods and the backend, for whoever comes from flannel.
import { formatCidr } from '../../api/cidr.ts';
import { type NetConf, readNetConf as readDocument } from '../../cni/net-conf.ts';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import { type FileAccess, unreadable } from './files.ts';

const NET_CONF = '/etc/kube-flannel/net-conf.json';

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
  const conf = readDocument(content, 'assigned', (problem) => fault(`${where}: ${problem}`));
  return conf === undefined ? {} : asFields(conf);
}

function asFields({ v4, v6, nftables, backend }: NetConf): Record<string, unknown> {
  const networks = [v4, v6].filter((plan) => plan !== undefined).map((plan) => formatCidr(plan.network));
  return {
    clusterCIDR: networks.join(','),
    networkBackend: backend.type,
    vni: backend.vni,
    vxlanPort: backend.port,
    vxlanDirectRouting: backend.directRouting,
    networkMTU: backend.mtu ?? 0,
    ...(nftables ? { networkRules: 'nftables' } : {}),
  };
}
