// The bridge that pods are plugged into, as an earlier run left it. The bridge plugin makes it for the first pod and
// refuses to give it another address later.
import { cidrContains, parseCidr, parseIp } from '../api/cidr.ts';
import { AgentError } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';
import { type IpLink, readJson } from '../host/ip-batch.ts';
import { removeLink } from '../host/netns.ts';
import type { OwnSubnets } from './subnet-source.ts';

/**
 * Removes the bridge when it belongs to another subnet and no pod uses it. True when it was removed.
 * @throws {AgentError} POD_CIDR_CHANGED when pods use it: they would lose their network.
 */
export async function removeForeignBridge(
  exec: Exec,
  bridge: string,
  subnets: OwnSubnets,
  signal: AbortSignal,
): Promise<boolean> {
  const link = (await readJson<IpLink>(exec, 'ip', ['addr', 'show', 'dev', bridge], { signal }))?.[0];
  const foreign = link === undefined ? undefined : foreignAddress(link, subnets);
  if (foreign === undefined) return false;
  const ports = await readJson<IpLink>(exec, 'ip', ['link', 'show', 'master', bridge], { signal });
  if (ports !== undefined && ports.length > 0) {
    throw new AgentError(
      `the node was given ${describe(subnets)}, but its bridge ${bridge} has ${foreign} and ${ports.length} pods on it`,
      {
        code: 'POD_CIDR_CHANGED',
        hint: 'drain the node: it takes the new range once its pods have ended; until then they keep the network they have, and no others start',
      },
    );
  }
  await removeLink(exec, bridge);
  return true;
}

/** An address of the bridge, link-local ones aside, that is not in the subnet of its family. */
function foreignAddress(link: IpLink, subnets: OwnSubnets): string | undefined {
  const ranges = [subnets.v4, subnets.v6].filter((s) => s !== undefined).map(parseCidr);
  const own = (link.addr_info ?? []).filter((a) => !/^fe[89ab]/i.test(a.local));
  return own.find((a) => !ranges.some((range) => cidrContains(range, parseIp(a.local))))?.local;
}

export function describe({ v4, v6 }: OwnSubnets): string {
  return [v4, v6].filter((s) => s !== undefined).join(' and ');
}
