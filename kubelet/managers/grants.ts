// What managers granted, put into a container's CRI configuration. Pure. After pkg/kubelet/cm/container_manager_linux.go
// GetResources and internal_container_lifecycle_linux.go PreCreateContainer.
import type { ContainerConfig } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import type { ContainerGrant } from './hint-provider.ts';

/** Undefined when nothing was granted. Lists follow each other, of single values the last one counts. */
export function mergeGrants(grants: readonly ContainerGrant[]): ContainerGrant | undefined {
  if (grants.length < 2) return grants[0];
  return {
    ...Object.assign({}, ...grants),
    envs: grants.flatMap((grant) => grant.envs ?? []),
    mounts: grants.flatMap((grant) => grant.mounts ?? []),
    devices: grants.flatMap((grant) => grant.devices ?? []),
    annotations: Object.assign({}, ...grants.map((grant) => grant.annotations)),
    cdiDevices: grants.flatMap((grant) => grant.cdiDevices ?? []),
  };
}

/** The environment that the container gets: what its spec sets wins over what was granted. */
export function grantedEnvironment(
  env: ReadonlyMap<string, string>,
  grant: ContainerGrant | undefined,
): ReadonlyMap<string, string> {
  if (grant?.envs === undefined || grant.envs.length === 0) return env;
  return new Map([...grant.envs.map(({ name, value }) => [name, value] as const), ...env]);
}

/** `config` with everything but the environment, which other fields of it are made from. */
export function withGrant(config: Init<ContainerConfig>, grant: ContainerGrant | undefined): Init<ContainerConfig> {
  if (grant === undefined) return config;
  const { cpusetCpus, cpusetMems, mounts = [], devices = [], annotations, cdiDevices = [] } = grant;
  const resources = {
    ...config.linux?.resources,
    ...(cpusetCpus === undefined ? {} : { cpusetCpus }),
    ...(cpusetMems === undefined ? {} : { cpusetMems }),
  };
  return {
    ...config,
    mounts: [...mounts, ...(config.mounts ?? [])],
    devices: [...devices, ...(config.devices ?? [])],
    annotations: { ...annotations, ...config.annotations }, // what the agent itself reads there is its own to write
    CDIDevices: [...(config.CDIDevices ?? []), ...cdiDevices.map((name) => ({ name }))],
    linux: { ...config.linux, resources },
  };
}
