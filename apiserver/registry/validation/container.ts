// One container of any list. Source: pkg/apis/core/validation validateContainer.
import type {
  Container,
  EnvVar,
  EphemeralContainer,
  HTTPGetAction,
  Probe,
  ResourceRequirements,
  VolumeMount,
} from '../../../api/pod.ts';
import {
  duplicate,
  type FieldError,
  forbiddenField,
  invalid,
  notFoundField,
  notSupported,
  required,
} from '../field-errors.ts';
import { labelFaults } from '../metadata.ts';
import { resizePolicyFaults, resourcesFaults } from './resources.ts';

export interface ContainerContext {
  readonly volumes: ReadonlySet<string>;
  /** Names and host ports met so far in the pod; added to. */
  readonly names: Set<string>;
  readonly hostPorts: Set<string>;
  readonly hostNetwork: boolean;
  /** Names of containers that an ephemeral one may look into. */
  readonly targets: ReadonlySet<string>;
  /** The pod's. */
  readonly restartPolicy: string | undefined;
}

export type ContainerList = 'containers' | 'initContainers' | 'ephemeralContainers';

const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];
const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'];
const MESSAGE_POLICIES = ['File', 'FallbackToLogsOnError'];
const PORT_TEXT = 'must be between 1 and 65535, inclusive';

export function containerFaults(
  container: Container | EphemeralContainer,
  path: string,
  list: ContainerList,
  context: ContainerContext,
): FieldError[] {
  const faults: FieldError[] = [];
  if (!container.name) faults.push(required(`${path}.name`));
  else faults.push(...labelFaults(`${path}.name`, container.name));
  if (container.name && context.names.has(container.name)) faults.push(duplicate(`${path}.name`, container.name));
  context.names.add(container.name);
  faults.push(...imageFaults(container, path));
  faults.push(...portsFaults(container, `${path}.ports`, list, context));
  faults.push(...envFaults(container.env ?? [], `${path}.env`));
  faults.push(...mountsFaults(container.volumeMounts ?? [], `${path}.volumeMounts`, context.volumes));
  faults.push(...resourcesFaults(container.resources, `${path}.resources`));
  faults.push(...resizePolicyFaults(container.resizePolicy ?? [], `${path}.resizePolicy`, context.restartPolicy));
  if (list === 'ephemeralContainers') faults.push(...ephemeralFaults(container as EphemeralContainer, path, context));
  return [...faults, ...handlerFaults(container, path, list)];
}

const NOT_EPHEMERAL = 'cannot be set for an Ephemeral Container';

/** What only looks in for a while promises nothing and leaves nothing behind. */
function ephemeralFaults(container: EphemeralContainer, path: string, context: ContainerContext): FieldError[] {
  const faults: FieldError[] = [];
  const { targetContainerName: target, resources, resizePolicy, restartPolicy, restartPolicyRules } = container;
  if (target && !context.targets.has(target)) faults.push(notFoundField(`${path}.targetContainerName`, target));
  const isSet = { resources: !isEmpty(resources), resizePolicy, restartPolicy, restartPolicyRules };
  for (const [member, value] of Object.entries(isSet)) {
    if (value) faults.push(forbiddenField(`${path}.${member}`, NOT_EPHEMERAL));
  }
  (container.volumeMounts ?? []).forEach((mount, i) => {
    for (const member of ['subPath', 'subPathExpr'] as const) {
      if (mount[member]) faults.push(forbiddenField(`${path}.volumeMounts[${i}].${member}`, NOT_EPHEMERAL));
    }
  });
  return faults;
}

function isEmpty(resources: ResourceRequirements | undefined): boolean {
  const count = (list: object | undefined) => Object.keys(list ?? {}).length;
  return count(resources?.limits) + count(resources?.requests) + count(resources?.claims) === 0;
}

function imageFaults(container: Container | EphemeralContainer, path: string): FieldError[] {
  const faults: FieldError[] = [];
  const { image, imagePullPolicy: pull, terminationMessagePolicy: message } = container;
  if (!image) faults.push(required(`${path}.image`));
  else if (image !== image.trim()) {
    faults.push(invalid(`${path}.image`, image, 'must not have leading or trailing whitespace'));
  }
  if (pull !== undefined && !PULL_POLICIES.includes(pull)) {
    faults.push(notSupported(`${path}.imagePullPolicy`, pull, PULL_POLICIES));
  }
  if (message !== undefined && !MESSAGE_POLICIES.includes(message)) {
    faults.push(notSupported(`${path}.terminationMessagePolicy`, message, MESSAGE_POLICIES));
  }
  return faults;
}

const isPort = (port: unknown): boolean =>
  Number.isInteger(port) && (port as number) >= 1 && (port as number) <= 65_535;

function portsFaults(
  container: Container | EphemeralContainer,
  path: string,
  list: ContainerList,
  context: ContainerContext,
): FieldError[] {
  const ports = container.ports ?? [];
  if (list === 'ephemeralContainers' && ports.length > 0) {
    return [forbiddenField(path, NOT_EPHEMERAL)];
  }
  const faults: FieldError[] = [];
  const names = new Set<string>();
  ports.forEach((port, i) => {
    const field = `${path}[${i}]`;
    if (port.name !== undefined) {
      faults.push(...serviceNameFaults(`${field}.name`, port.name));
      if (names.has(port.name)) faults.push(duplicate(`${field}.name`, port.name));
      names.add(port.name);
    }
    if (!port.containerPort) faults.push(required(`${field}.containerPort`));
    else if (!isPort(port.containerPort)) faults.push(invalid(`${field}.containerPort`, port.containerPort, PORT_TEXT));
    if (port.hostPort && !isPort(port.hostPort)) faults.push(invalid(`${field}.hostPort`, port.hostPort, PORT_TEXT));
    if (context.hostNetwork && port.hostPort !== port.containerPort) {
      faults.push(invalid(`${field}.hostPort`, port.hostPort, 'must match `containerPort` when `hostNetwork` is true'));
    }
    if (!PROTOCOLS.includes(port.protocol ?? ''))
      faults.push(notSupported(`${field}.protocol`, port.protocol, PROTOCOLS));
    if (!port.hostPort || list !== 'containers') return;
    const taken = `${port.protocol}/${port.hostIP ?? ''}/${port.hostPort}`;
    if (context.hostPorts.has(taken)) faults.push(duplicate(`${field}.hostPort`, taken));
    context.hostPorts.add(taken);
  });
  return faults;
}

/** IANA service names: at most 15 characters, at least one letter. */
export function serviceNameFaults(field: string, name: string): FieldError[] {
  if (name.length > 15) return [invalid(field, name, 'must be no more than 15 characters')];
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)) {
    return [invalid(field, name, 'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)')];
  }
  if (name.includes('--')) return [invalid(field, name, 'must not contain consecutive hyphens')];
  return /[a-z]/.test(name) ? [] : [invalid(field, name, 'must contain at least one letter (a-z)')];
}

const VALUE_SOURCES = ['fieldRef', 'resourceFieldRef', 'configMapKeyRef', 'secretKeyRef', 'fileKeyRef'] as const;
const FIELD_PATHS =
  /^(metadata\.(name|namespace|uid|annotations\['[^']+'\]|labels\['[^']+'\])|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$/;

function envFaults(env: readonly EnvVar[], path: string): FieldError[] {
  return env.flatMap((variable, i) => {
    const field = `${path}[${i}]`;
    const faults: FieldError[] = [];
    if (!variable.name) faults.push(required(`${field}.name`));
    else if (!/^[ -<>-~]+$/.test(variable.name)) {
      faults.push(
        invalid(
          `${field}.name`,
          variable.name,
          "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
      );
    }
    const from = variable.valueFrom as Record<string, { fieldPath?: string }> | undefined;
    if (from === undefined) return faults;
    const sources = VALUE_SOURCES.filter((s) => from[s] !== undefined);
    if (sources.length === 0)
      faults.push(
        invalid(
          `${field}.valueFrom`,
          '',
          'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`',
        ),
      );
    if (sources.length > 1)
      faults.push(invalid(`${field}.valueFrom`, '', 'may not have more than one field specified at a time'));
    if (variable.value)
      faults.push(invalid(`${field}.valueFrom`, '', 'may not be specified when `value` is not empty'));
    const fieldPath = from.fieldRef?.fieldPath;
    if (from.fieldRef !== undefined && !FIELD_PATHS.test(fieldPath ?? '')) {
      faults.push(
        invalid(
          `${field}.valueFrom.fieldRef.fieldPath`,
          fieldPath,
          `error converting fieldPath: field label not supported: ${fieldPath}`,
        ),
      );
    }
    return faults;
  });
}

function mountsFaults(mounts: readonly VolumeMount[], path: string, volumes: ReadonlySet<string>): FieldError[] {
  const paths = new Set<string>();
  return mounts.flatMap((mount, i) => {
    const field = `${path}[${i}]`;
    const faults: FieldError[] = [];
    if (!mount.name) faults.push(required(`${field}.name`));
    else if (!volumes.has(mount.name)) faults.push(notFoundField(`${field}.name`, mount.name));
    if (!mount.mountPath) faults.push(required(`${field}.mountPath`));
    else if (paths.has(mount.mountPath)) faults.push(invalid(`${field}.mountPath`, mount.mountPath, 'must be unique'));
    paths.add(mount.mountPath);
    for (const member of ['subPath', 'subPathExpr'] as const) {
      const sub = mount[member];
      if (sub?.startsWith('/')) faults.push(invalid(`${field}.${member}`, sub, 'must be a relative path'));
      if (sub?.split('/').includes('..')) faults.push(invalid(`${field}.${member}`, sub, "must not contain '..'"));
    }
    if (mount.subPath && mount.subPathExpr) {
      faults.push(invalid(`${field}.subPathExpr`, mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
    }
    return faults;
  });
}

const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;

function handlerFaults(container: Container | EphemeralContainer, path: string, list: ContainerList): FieldError[] {
  const sidecar = list === 'initContainers' && container.restartPolicy === 'Always';
  const allowed = list === 'containers' || sidecar;
  const faults: FieldError[] = [];
  if (container.lifecycle !== undefined && !allowed) {
    faults.push(forbiddenField(`${path}.lifecycle`, kindText(list)));
  }
  for (const name of PROBES) {
    const probe = container[name];
    if (probe === undefined) continue;
    if (!allowed) faults.push(forbiddenField(`${path}.${name}`, kindText(list)));
    else faults.push(...probeFaults(probe, `${path}.${name}`, name !== 'readinessProbe'));
  }
  return faults;
}

function kindText(list: ContainerList): string {
  return list === 'initContainers' ? 'may not be set for init containers without restartPolicy=Always' : NOT_EPHEMERAL;
}

const HANDLERS = ['exec', 'httpGet', 'tcpSocket', 'grpc'] as const;
const COUNTS = [
  'initialDelaySeconds',
  'timeoutSeconds',
  'periodSeconds',
  'successThreshold',
  'failureThreshold',
] as const;

function probeFaults(probe: Probe, path: string, onlyOneSuccess: boolean): FieldError[] {
  const faults: FieldError[] = [];
  const handlers = HANDLERS.filter((h) => probe[h] !== undefined);
  if (handlers.length === 0) faults.push(required(path, 'must specify a handler type'));
  for (const extra of handlers.slice(1)) {
    faults.push(forbiddenField(`${path}.${extra}`, 'may not specify more than 1 handler type'));
  }
  if (probe.exec !== undefined && (probe.exec.command?.length ?? 0) === 0)
    faults.push(required(`${path}.exec.command`));
  if (probe.httpGet !== undefined) faults.push(...httpGetFaults(probe.httpGet, `${path}.httpGet`));
  if (probe.tcpSocket !== undefined) faults.push(...targetPortFaults(probe.tcpSocket.port, `${path}.tcpSocket.port`));
  for (const count of COUNTS) {
    const value = probe[count];
    if (value !== undefined && value < 0)
      faults.push(invalid(`${path}.${count}`, value, 'must be greater than or equal to 0'));
  }
  if (onlyOneSuccess && probe.successThreshold !== undefined && probe.successThreshold > 1) {
    faults.push(invalid(`${path}.successThreshold`, probe.successThreshold, 'must be 1'));
  }
  return faults;
}

function httpGetFaults(get: HTTPGetAction, path: string): FieldError[] {
  const faults = targetPortFaults(get.port, `${path}.port`);
  const schemes = ['HTTP', 'HTTPS'];
  if (get.scheme !== undefined && !schemes.includes(get.scheme))
    faults.push(notSupported(`${path}.scheme`, get.scheme, schemes));
  return faults;
}

/** A number or the name of a port. */
export function targetPortFaults(port: number | string, path: string): FieldError[] {
  if (typeof port === 'string') return serviceNameFaults(path, port);
  return isPort(port) ? [] : [invalid(path, port, PORT_TEXT)];
}
