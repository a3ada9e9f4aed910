// What runs beside a container's own process: probes and lifecycle hooks. Source: pkg/apis/core/validation
// validateProbe, validateLifecycle.
import type { Container, EphemeralContainer, HTTPGetAction, Lifecycle, Probe } from '../../../api/pod.ts';
import { type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import type { ContainerList } from './container.ts';
import { targetPortFaults } from './ports.ts';

const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;
const HOOKS = ['postStart', 'preStop'] as const;
const COUNTS = [
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
] as const;

type LifecycleHandler = NonNullable<Lifecycle['preStop']>;
type Handler = LifecycleHandler & Probe;

/** `graceSeconds`: the pod's terminationGracePeriodSeconds. */
export function handlerFaults(
  container: Container | EphemeralContainer,
  path: string,
  list: ContainerList,
  graceSeconds: number | undefined,
): FieldError[] {
  const sidecar = list === 'initContainers' && container.restartPolicy === 'Always';
  const allowed = list === 'containers' || sidecar;
  const faults: FieldError[] = [];
  if (container.lifecycle !== undefined) {
    if (allowed) faults.push(...lifecycleFaults(container.lifecycle, `${path}.lifecycle`, graceSeconds));
    else faults.push(forbiddenField(`${path}.lifecycle`, kindText(list)));
  }
  for (const name of PROBES) {
    const probe = container[name];
    if (probe === undefined) continue;
    if (allowed) faults.push(...probeFaults(probe, `${path}.${name}`, name === 'readinessProbe'));
    else faults.push(forbiddenField(`${path}.${name}`, kindText(list)));
  }
  return faults;
}

function kindText(list: ContainerList): string {
  return list === 'initContainers'
    ? 'may not be set for init containers without restartPolicy=Always'
    : 'cannot be set for an Ephemeral Container';
}

function lifecycleFaults(lifecycle: Lifecycle, path: string, graceSeconds: number | undefined): FieldError[] {
  return HOOKS.flatMap((name) => {
    const hook = lifecycle[name];
    if (hook === undefined) return [];
    const field = `${path}.${name}`;
    return actionFaults(hook as Handler, field, ['exec', 'httpGet', 'tcpSocket', 'sleep'], graceSeconds);
  });
}

function probeFaults(probe: Probe, path: string, isReadiness: boolean): FieldError[] {
  const faults = actionFaults(probe as Handler, path, ['exec', 'httpGet', 'tcpSocket', 'grpc'], undefined);
  for (const count of COUNTS) {
    const value = probe[count];
    if (value !== undefined && value < 0)
      faults.push(invalid(`${path}.${count}`, value, 'must be greater than or equal to 0'));
  }
  const grace = probe.terminationGracePeriodSeconds;
  const field = `${path}.terminationGracePeriodSeconds`;
  if (grace !== undefined && grace <= 0) faults.push(invalid(field, grace, 'must be greater than 0'));
  if (isReadiness) {
    if (grace !== undefined) faults.push(invalid(field, grace, 'must not be set for readinessProbes'));
  } else if (probe.successThreshold !== undefined && probe.successThreshold > 1) {
    faults.push(invalid(`${path}.successThreshold`, probe.successThreshold, 'must be 1'));
  }
  return faults;
}

/** Exactly one of `kinds`, and that one as it must be. */
function actionFaults(
  handler: Handler,
  path: string,
  kinds: readonly ('exec' | 'httpGet' | 'tcpSocket' | 'grpc' | 'sleep')[],
  graceSeconds: number | undefined,
): FieldError[] {
  const [first, ...others] = kinds.filter((kind) => handler[kind] !== undefined);
  if (first === undefined) return [required(path, 'must specify a handler type')];
  const faults = others.map((kind) => forbiddenField(`${path}.${kind}`, 'may not specify more than 1 handler type'));
  const { exec, httpGet, tcpSocket, grpc, sleep } = handler;
  if (exec !== undefined && (exec.command?.length ?? 0) === 0) faults.push(required(`${path}.exec.command`));
  if (httpGet !== undefined) faults.push(...httpGetFaults(httpGet, `${path}.httpGet`));
  if (tcpSocket !== undefined) faults.push(...targetPortFaults(tcpSocket.port, `${path}.tcpSocket.port`));
  if (grpc !== undefined) faults.push(...targetPortFaults(grpc.port, `${path}.grpc.port`));
  const seconds = sleep?.seconds ?? 0;
  if (graceSeconds !== undefined && (seconds < 0 || seconds > graceSeconds)) {
    const why = `must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`;
    faults.push(invalid(`${path}.sleep`, seconds, why));
  }
  return faults;
}

const HEADER = /^[-A-Za-z0-9]+$/;
const HEADER_TEXT =
  "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

function httpGetFaults(get: HTTPGetAction, path: string): FieldError[] {
  const faults = targetPortFaults(get.port, `${path}.port`);
  const schemes = ['HTTP', 'HTTPS'];
  if (get.scheme !== undefined && !schemes.includes(get.scheme))
    faults.push(notSupported(`${path}.scheme`, get.scheme, schemes));
  for (const { name } of get.httpHeaders ?? []) {
    if (!HEADER.test(name)) faults.push(invalid(`${path}.httpHeaders`, name, HEADER_TEXT));
  }
  return faults;
}
