// Pure: from a request on a pod's subresource to the kubelet's URL. After pkg/registry/core/pod/strategy.go.
import type { Pod } from '../../api/pod.ts';
import { isTrue } from '../request.ts';
import { badRequest, StatusError } from '../status-error.ts';

type Container = { readonly name: string };

/** The container that is meant, when the request names none. @throws {StatusError} 400 */
export function chooseContainer(pod: Pod, asked: string): string {
  const podName = pod.metadata?.name ?? '';
  const containers: readonly Container[] = pod.spec?.containers ?? [];
  const inits: readonly Container[] = pod.spec?.initContainers ?? [];
  const all = [...containers, ...inits, ...((pod.spec?.ephemeralContainers ?? []) as readonly Container[])];
  if (asked !== '') {
    if (all.some((c) => c.name === asked)) return asked;
    throw badRequest(`container ${asked} is not valid for pod ${podName}`);
  }
  if (containers.length === 1) return containers[0]!.name;
  const names = (list: readonly Container[]): string => `[${list.map((c) => c.name).join(' ')}]`;
  const orInit = inits.length === 0 ? '' : ` or one of the init containers: ${names(inits)}`;
  throw badRequest(
    `a container name must be specified for pod ${podName}, choose one of: ${names(containers)}${orInit}`,
  );
}

/** Which streams of exec and attach are asked for. stdout and stderr default to being there only when named. */
export function streamsOf(query: URLSearchParams): {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
} {
  const on = (name: string): boolean => isTrue(query.get(name));
  return { stdin: on('stdin'), stdout: on('stdout'), stderr: on('stderr'), tty: on('tty') };
}

/** `/exec/ns/pod/container?command=…&input=1…`, and the like for attach. */
export function execPath(kind: 'exec' | 'attach', pod: Pod, container: string, query: URLSearchParams): string {
  const { stdin, stdout, stderr, tty } = streamsOf(query);
  if (!stdin && !stdout && !stderr) throw badRequest('you must specify at least 1 of stdin, stdout, stderr');
  const commands = query.getAll('command');
  if (kind === 'exec' && commands.length === 0)
    throw badRequest('you must specify at least one command for the container');
  const to = new URLSearchParams();
  if (kind === 'exec') for (const argument of commands) to.append('command', argument);
  if (stdin) to.set('input', '1');
  if (stdout) to.set('output', '1');
  if (stderr && !tty) to.set('error', '1');
  if (tty) to.set('tty', '1');
  return `/${kind}/${podPath(pod)}/${encodeURIComponent(container)}?${to}`;
}

export function portForwardPath(pod: Pod, query: URLSearchParams): string {
  const ports = query.getAll('ports').flatMap((p) => p.split(','));
  if (ports.some((p) => !/^\d{1,5}$/.test(p))) throw badRequest('ports must be numbers');
  return `/portForward/${podPath(pod)}${ports.length === 0 ? '' : `?port=${ports.join(',')}`}`;
}

/** @throws {StatusError} 422 for options that contradict each other or are out of range. */
export function logPath(pod: Pod, container: string, query: URLSearchParams): string {
  const to = new URLSearchParams();
  for (const flag of ['follow', 'previous', 'timestamps']) if (isTrue(query.get(flag))) to.set(flag, 'true');
  const faults: string[] = [];
  for (const [name, least] of [
    ['sinceSeconds', 1],
    ['tailLines', 0],
    ['limitBytes', 1],
  ] as const) {
    const text = query.get(name);
    if (text === null) continue;
    if (!/^-?\d+$/.test(text)) throw badRequest(`strconv.ParseInt: parsing "${text}": invalid syntax`);
    if (Number(text) < least) {
      const bound = least === 0 ? 'must be greater than or equal to 0' : 'must be greater than 0';
      faults.push(`${name}: Invalid value: ${text}: ${bound}`);
    } else to.set(name, text);
  }
  const sinceTime = query.get('sinceTime');
  if (sinceTime !== null) {
    if (Number.isNaN(Date.parse(sinceTime))) throw badRequest(`sinceTime: cannot parse "${sinceTime}" as RFC 3339`);
    to.set('sinceTime', sinceTime);
  }
  if (sinceTime !== null && query.has('sinceSeconds')) {
    faults.push('sinceSeconds: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified');
  }
  if (faults.length > 0) throw invalidLogOptions(faults);
  const search = to.size === 0 ? '' : `?${to}`;
  return `/containerLogs/${podPath(pod)}/${encodeURIComponent(container)}${search}`;
}

function invalidLogOptions(faults: readonly string[]): StatusError {
  const text = faults.length === 1 ? faults[0]! : `[${faults.join(', ')}]`;
  const causes = faults.map((fault) => {
    const [field = '', ...rest] = fault.split(': ');
    const reason = rest[0] === 'Forbidden' ? 'FieldValueForbidden' : 'FieldValueInvalid';
    return { reason, field, message: rest.join(': ') };
  });
  return new StatusError(422, 'Invalid', `PodLogOptions "" is invalid: ${text}`, { kind: 'PodLogOptions', causes });
}

const podPath = (pod: Pod): string =>
  `${encodeURIComponent(pod.metadata?.namespace ?? '')}/${encodeURIComponent(pod.metadata?.name ?? '')}`;
