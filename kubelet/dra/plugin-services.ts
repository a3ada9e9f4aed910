// Which service of a driver's plugin is called. Pure, and apart from the rest: that is loaded when a plugin is there.
import { AgentError } from '../../core/errors.ts';
import type { PluginInfo } from '../plugins/plugin-handler.ts';

export const DRA_PLUGIN_TYPE = 'DRAPlugin';

/** As the API has them in claims and slices: a DNS subdomain of at most 63 characters. */
const DRIVER_NAME = /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** What a plugin says that it speaks → its gRPC service. The newest first. */
const SERVICES: ReadonlyMap<string, string> = new Map([
  ['v1.DRAPlugin', 'k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin'],
  ['v1beta1.DRAPlugin', 'k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin'],
]);

/** The gRPC service to be used: the first one that the plugin names and we know. @throws {AgentError} DRA_PLUGIN_REFUSED */
export function chosenService({ name, endpoint, supportedVersions }: PluginInfo): string {
  if (!DRIVER_NAME.test(name)) {
    throw new AgentError(`invalid name of a DRA driver: ${JSON.stringify(name)}`, { code: 'DRA_PLUGIN_REFUSED' });
  }
  const service = supportedVersions.find((v) => SERVICES.has(v));
  if (service !== undefined) return SERVICES.get(service)!;
  const quoted = (list: Iterable<string>) => `[${[...list].map((s) => JSON.stringify(s)).join(' ')}]`;
  const why =
    supportedVersions.length === 0
      ? 'empty list of supported gRPC services (aka supported versions)'
      : `none of services supported by the plugin (${quoted(supportedVersions)}) are supported by the kubelet (${quoted(SERVICES.keys())})`;
  const what = `invalid supported gRPC versions of DRA driver plugin ${name} at endpoint ${endpoint}`;
  throw new AgentError(`${what}: ${why}`, { code: 'DRA_PLUGIN_REFUSED' });
}
