// Which address and port a probe or a lifecycle hook means: named ports, default hosts (pkg/probe/http/request.go, pkg/probe/util.go).
import type { Container, Pod, Probe } from '../api/pod.ts';
import type { HttpGet } from './http-get.ts';

/** Of the container that is asked. */
interface Ports {
  readonly ports?: Readonly<Container['ports']>;
}

/** A port by number, by the name of one of the container's ports, or a number written as text. @throws Error */
export function resolvePort(port: number | string, container: Ports): number {
  const named = typeof port === 'string' ? container.ports?.find((p) => p.name === port)?.containerPort : undefined;
  const number = named ?? Number(port);
  if (typeof port === 'string' && named === undefined && !/^\d+$/.test(port)) {
    throw new Error(`strconv.Atoi: parsing ${JSON.stringify(port)}: invalid syntax`); // upstream's words for it
  }
  if (!Number.isInteger(number) || number < 1 || number > 65_535) throw new Error(`invalid port number: ${number}`);
  return number;
}

/** @throws Error when the port cannot be resolved. */
export function httpTarget(action: NonNullable<Probe['httpGet']>, container: Ports, podIp: string): HttpGet {
  return {
    scheme: action.scheme?.toLowerCase() === 'https' ? 'https' : 'http',
    host: action.host || podIp,
    port: resolvePort(action.port, container),
    path: action.path ?? '/',
    headers: action.httpHeaders ?? [],
  };
}

/** Exec probes expand `$(VAR)` from the literal env values alone: the container's full environment is not known here. */
export function expandCommand(command: readonly string[], container: Container): string[] {
  const env = new Map(
    (container.env ?? []).filter((e) => e.valueFrom === undefined).map((e) => [e.name, e.value ?? '']),
  );
  return command.map((part) =>
    part.replaceAll(/\$\$|\$\(([^)]*)\)/g, (whole, name: string | undefined) =>
      whole === '$$' ? '$' : (env.get(name!) ?? whole),
    ),
  );
}

/** Containers that are probed: regular ones and sidecars (init containers that restart always). */
export function probedContainers(pod: Pod): readonly Container[] {
  const sidecars = (pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always');
  return [...sidecars, ...(pod.spec?.containers ?? [])];
}
