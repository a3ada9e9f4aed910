// One container of any list. Source: pkg/apis/core/validation validateContainer.
import type {
  Container,
  ContainerRestartRule,
  EnvVar,
  EphemeralContainer,
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
  tooMany,
} from '../field-errors.ts';
import { labelFaults } from '../metadata.ts';
import { handlerFaults } from './handlers.ts';
import { isPort, PORT_TEXT, serviceNameFaults } from './ports.ts';
import { resizePolicyFaults, resourcesFaults } from './resources.ts';
import { pathBelowFaults, securityContextFaults } from './security-context.ts';

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
  /** The pod's terminationGracePeriodSeconds. */
  readonly graceSeconds: number | undefined;
}

export type ContainerList = 'containers' | 'initContainers' | 'ephemeralContainers';

const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];
const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'];
const MESSAGE_POLICIES = ['File', 'FallbackToLogsOnError'];

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
  faults.push(
    ...mountsFaults(
      container.volumeMounts ?? [],
      `${path}.volumeMounts`,
      context.volumes,
      container.securityContext?.privileged === true,
    ),
  );
  faults.push(...resourcesFaults(container.resources, `${path}.resources`));
  faults.push(...resizePolicyFaults(container.resizePolicy ?? [], `${path}.resizePolicy`, context.restartPolicy));
  faults.push(...securityContextFaults(container.securityContext, `${path}.securityContext`));
  if (list !== 'ephemeralContainers') faults.push(...restartFaults(container as Container, path));
  else faults.push(...ephemeralFaults(container as EphemeralContainer, path, context));
  return [...faults, ...handlerFaults(container, path, list, context.graceSeconds)];
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

const RESTARTS = ['Always', 'Never', 'OnFailure'];
const RESTART_ACTIONS = ['Restart', 'RestartAllContainers'];
const OPERATORS = ['In', 'NotIn'];
const MAX_RULES = 20;
const MAX_EXIT_CODES = 255;

/** A restart policy of the container's own, and the exit codes that make exceptions (KEP-5307). */
function restartFaults(container: Container, path: string): FieldError[] {
  const { restartPolicy: policy, restartPolicyRules: rules = [] } = container;
  const field = `${path}.restartPolicy`;
  const faults: FieldError[] = [];
  if (policy !== undefined && !RESTARTS.includes(policy)) faults.push(notSupported(field, policy, RESTARTS));
  if (policy === undefined && rules.length > 0) {
    faults.push(required(field, 'must specify restartPolicy when restart rules are used'));
  }
  if (rules.length > MAX_RULES) faults.push(tooMany(`${path}.restartPolicyRules`, rules.length, MAX_RULES));
  return [...faults, ...rules.flatMap((rule, i) => ruleFaults(rule, `${path}.restartPolicyRules[${i}]`))];
}

function ruleFaults({ action, exitCodes }: ContainerRestartRule, path: string): FieldError[] {
  const faults: FieldError[] = [];
  if (!RESTART_ACTIONS.includes(action)) faults.push(notSupported(`${path}.action`, action, RESTART_ACTIONS));
  if (exitCodes === undefined) return [...faults, required(`${path}.exitCodes`, 'must be specified')];
  const { operator, values = [] } = exitCodes;
  if (!OPERATORS.includes(operator)) faults.push(notSupported(`${path}.exitCodes.operator`, operator, OPERATORS));
  if (values.length > MAX_EXIT_CODES) faults.push(tooMany(`${path}.exitCodes.values`, values.length, MAX_EXIT_CODES));
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

const PROPAGATIONS = ['Bidirectional', 'HostToContainer', 'None'];
const RECURSIVE = ['Disabled', 'IfPossible', 'Enabled'];

function propagationFaults(mount: VolumeMount, path: string, privileged: boolean): FieldError[] {
  const { mountPropagation, readOnly } = mount;
  const { recursiveReadOnly } = mount as { recursiveReadOnly?: string };
  const faults: FieldError[] = [];
  if (mountPropagation !== undefined && !PROPAGATIONS.includes(mountPropagation)) {
    faults.push(notSupported(`${path}.mountPropagation`, mountPropagation, PROPAGATIONS));
  } else if (mountPropagation === 'Bidirectional' && !privileged) {
    const why = 'Bidirectional mount propagation is available only to privileged containers';
    faults.push(forbiddenField(`${path}.mountPropagation`, why));
  }
  if (recursiveReadOnly === undefined || recursiveReadOnly === 'Disabled') return faults;
  const field = `${path}.recursiveReadOnly`;
  if (!RECURSIVE.includes(recursiveReadOnly)) faults.push(notSupported(field, recursiveReadOnly, RECURSIVE));
  else if (readOnly !== true) faults.push(forbiddenField(field, 'may only be specified when readOnly is true'));
  else if (mountPropagation !== undefined && mountPropagation !== 'None') {
    faults.push(forbiddenField(field, 'may only be specified when mountPropagation is None or not specified'));
  }
  return faults;
}

function mountsFaults(
  mounts: readonly VolumeMount[],
  path: string,
  volumes: ReadonlySet<string>,
  privileged: boolean,
): FieldError[] {
  const paths = new Set<string>();
  return mounts.flatMap((mount, i) => {
    const field = `${path}[${i}]`;
    const faults: FieldError[] = [];
    if (!mount.name) faults.push(required(`${field}.name`));
    else if (!volumes.has(mount.name)) faults.push(notFoundField(`${field}.name`, mount.name));
    if (!mount.mountPath) faults.push(required(`${field}.mountPath`));
    else if (mount.mountPath.includes(':'))
      faults.push(invalid(`${field}.mountPath`, mount.mountPath, "must not contain ':'"));
    else if (paths.has(mount.mountPath)) faults.push(invalid(`${field}.mountPath`, mount.mountPath, 'must be unique'));
    paths.add(mount.mountPath);
    for (const member of ['subPath', 'subPathExpr'] as const) {
      const sub = mount[member];
      if (sub) faults.push(...pathBelowFaults(`${field}.${member}`, sub));
    }
    faults.push(...propagationFaults(mount, field, privileged));
    if (mount.subPath && mount.subPathExpr) {
      faults.push(invalid(`${field}.subPathExpr`, mount.subPathExpr, 'subPathExpr and subPath are mutually exclusive'));
    }
    return faults;
  });
}
