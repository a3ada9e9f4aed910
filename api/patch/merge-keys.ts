// How strategic merge treats each field of the built-in kinds: the patchStrategy and patchMergeKey tags of k8s.io/api,
// as tables of types. A field that is not listed is a plain map (merged), a list (replaced) or a scalar.

export interface FieldPatch {
  /** Type of the value, or of the list's items. */
  readonly type?: string;
  /** The list is merged item by item, matched by this member. */
  readonly mergeKey?: string;
  /** The list of scalars is merged as a set. */
  readonly union?: true;
  /** The map is replaced as a whole. */
  readonly replace?: true;
}

type TypeFields = Readonly<Record<string, FieldPatch>>;

const of = (type: string): FieldPatch => ({ type });
const byKey = (mergeKey: string, type?: string): FieldPatch => (type === undefined ? { mergeKey } : { mergeKey, type });
const union: FieldPatch = { union: true };

const containerStatus: FieldPatch = of('ContainerStatus');

/** Fields of each type, besides those that need nothing. */
const TYPES: Readonly<Record<string, TypeFields>> = {
  ObjectMeta: { finalizers: union, ownerReferences: byKey('uid') },
  PodTemplateSpec: { metadata: of('ObjectMeta'), spec: of('PodSpec') },
  PodSpec: {
    containers: byKey('name', 'Container'),
    initContainers: byKey('name', 'Container'),
    ephemeralContainers: byKey('name', 'Container'),
    volumes: byKey('name', 'Volume'),
    imagePullSecrets: byKey('name'),
    hostAliases: byKey('ip'),
    topologySpreadConstraints: byKey('topologyKey'),
    schedulingGates: byKey('name'),
    resourceClaims: byKey('name'),
  },
  Container: {
    env: byKey('name'),
    ports: byKey('containerPort'),
    volumeMounts: byKey('mountPath'),
    volumeDevices: byKey('devicePath'),
  },
  PodStatus: {
    conditions: byKey('type'),
    podIPs: byKey('ip'),
    hostIPs: byKey('ip'),
    containerStatuses: containerStatus,
    initContainerStatuses: containerStatus,
    ephemeralContainerStatuses: containerStatus,
    resourceClaimStatuses: byKey('name'),
  },
  ContainerStatus: { volumeMounts: byKey('mountPath'), allocatedResourcesStatus: byKey('name') },
  ServiceSpec: { ports: byKey('port') },
  NodeSpec: { podCIDRs: union },
  NodeStatus: { conditions: byKey('type'), addresses: byKey('type') },
  PodDisruptionBudgetSpec: { selector: { replace: true } },
  CSINodeSpec: { drivers: byKey('name') },
  Templated: { template: of('PodTemplateSpec') },
  JobTemplateSpec: { metadata: of('ObjectMeta'), spec: of('Templated') },
  CronJobSpec: { jobTemplate: of('JobTemplateSpec') },
  Conditions: { conditions: byKey('type') },
  ResourceClaimStatus: { reservedFor: byKey('uid') },
};

const metadata = of('ObjectMeta');
const workload: TypeFields = { metadata, spec: of('Templated'), status: of('Conditions') };
const conditioned: TypeFields = { metadata, status: of('Conditions') };
const webhooks: TypeFields = { metadata, webhooks: byKey('name') };
const plain: TypeFields = { metadata };

const KINDS: Readonly<Record<string, TypeFields>> = {
  Pod: { metadata, spec: of('PodSpec'), status: of('PodStatus') },
  PodTemplate: { metadata, template: of('PodTemplateSpec') },
  Node: { metadata, spec: of('NodeSpec'), status: of('NodeStatus') },
  Service: { metadata, spec: of('ServiceSpec'), status: of('Conditions') },
  ServiceAccount: { metadata, secrets: byKey('name') },
  Deployment: workload,
  ReplicaSet: workload,
  ReplicationController: workload,
  DaemonSet: workload,
  StatefulSet: workload,
  Job: workload,
  CronJob: { metadata, spec: of('CronJobSpec') },
  Namespace: conditioned,
  PersistentVolumeClaim: conditioned,
  HorizontalPodAutoscaler: conditioned,
  ServiceCIDR: conditioned,
  PodDisruptionBudget: { metadata, spec: of('PodDisruptionBudgetSpec'), status: of('Conditions') },
  CSINode: { metadata, spec: of('CSINodeSpec') },
  ResourceClaim: { metadata, status: of('ResourceClaimStatus') },
  MutatingWebhookConfiguration: webhooks,
  ValidatingWebhookConfiguration: webhooks,
};

/** Strategies below one point of an object. */
export interface PatchSchema {
  field(name: string): FieldPatch;
  /** The schema of the field's value, or of its items. */
  below(name: string): PatchSchema;
}

class TableSchema implements PatchSchema {
  readonly #fields: TypeFields;

  constructor(fields: TypeFields) {
    this.#fields = fields;
  }

  field(name: string): FieldPatch {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name]! : {};
  }

  below(name: string): PatchSchema {
    const { type } = this.field(name);
    return type === undefined || !Object.hasOwn(TYPES, type) ? NO_SCHEMA : new TableSchema(TYPES[type]!);
  }
}

const NO_SCHEMA: PatchSchema = new TableSchema({});

/** The strategies of a built-in kind; of others, those of its metadata. */
export function patchSchemaOf(kind: string): PatchSchema {
  return new TableSchema(Object.hasOwn(KINDS, kind) ? KINDS[kind]! : plain);
}
