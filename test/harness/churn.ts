// A user who never rests: pods of every make come, change, crash and go, one seeded step after the other. Nothing here
// looks at what becomes of them; that is for whoever watches.
import type { Container, Pod, PodSpec, Volume } from '../../api/pod.ts';
import { configMaps, namespaces, pods, secrets, serviceAccounts } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';
import { isCriError } from '../../cri/errors.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { NODE, until } from './fault-node.ts';
import type { Random } from './random.ts';

const CONFIG = 'settings';
const MOST_PODS = 7;
const SERVICE_ACCOUNT_MS = 120_000;
/** Ends at once when asked to. */
const STAY = 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done';

const shell = (name: string, script: string, more: Partial<Container> = {}): Container => ({
  name,
  image: 'busybox',
  imagePullPolicy: 'IfNotPresent',
  command: ['sh', '-c', script],
  ...more,
});

const SCRATCH: Volume = { name: 'scratch', emptyDir: {} };
const atScratch = [{ name: 'scratch', mountPath: '/scratch' }];

/** What may come; each stays until it is deleted, or ends by itself, or never stops to crash. */
const MAKES: Readonly<Record<string, (random: Random) => PodSpec>> = {
  volumes: (random) => ({
    containers: [
      shell('main', STAY, {
        ports: [{ containerPort: 80, hostPort: random.int(20_000, 29_999) }],
        volumeMounts: [
          { name: 'memory', mountPath: '/memory' },
          { name: 'config', mountPath: '/config' },
          { name: 'config', mountPath: '/one-key', subPath: 'key' },
          { name: 'secret', mountPath: '/secret' },
          { name: 'scratch', mountPath: '/below', subPath: 'a/b' },
        ],
      }),
    ],
    volumes: [
      SCRATCH,
      { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
      { name: 'config', configMap: { name: CONFIG } },
      { name: 'secret', secret: { secretName: CONFIG } },
    ],
  }),
  init: () => ({
    initContainers: [
      shell('first', 'echo one >> /scratch/log', { volumeMounts: atScratch }),
      shell('second', 'sleep 0.2; echo two >> /scratch/log', { volumeMounts: atScratch }),
    ],
    containers: [
      shell('left', `test -s /scratch/log || exit 9; ${STAY}`, { volumeMounts: atScratch }),
      shell('right', STAY, { volumeMounts: atScratch }),
    ],
    volumes: [SCRATCH],
  }),
  sidecar: () => ({
    initContainers: [shell('side', STAY, { restartPolicy: 'Always' })],
    containers: [
      shell('main', STAY, {
        lifecycle: {
          postStart: { exec: { command: ['sh', '-c', 'echo started > /tmp/hook'] } },
          preStop: { exec: { command: ['sleep', '0.2'] } },
        },
        readinessProbe: { exec: { command: ['test', '-s', '/tmp/hook'] }, periodSeconds: 1, timeoutSeconds: 20 },
      }),
    ],
  }),
  job: (random) => ({
    restartPolicy: 'Never',
    initContainers: [shell('prepare', 'exit 0')],
    containers: [shell('main', `sleep 0.${random.int(0, 9)}; exit ${random.pick([0, 0, 3])}`)],
  }),
  'on-failure': () => ({
    restartPolicy: 'OnFailure',
    containers: [
      shell('main', 'test -e /scratch/again && exit 0; touch /scratch/again; exit 4', { volumeMounts: atScratch }),
    ],
    volumes: [SCRATCH],
  }),
  crash: (random) => ({ containers: [shell('main', `sleep 0.${random.int(1, 5)}; exit 5`), shell('other', STAY)] }),
  unhealthy: () => ({
    containers: [
      shell('main', STAY, {
        livenessProbe: { exec: { command: ['false'] }, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 1 },
        startupProbe: { exec: { command: ['true'] }, periodSeconds: 1, timeoutSeconds: 20 },
      }),
    ],
  }),
};

export class Churn {
  readonly #client: ApiClient;
  readonly #runtime: RuntimeService;
  readonly #namespace: string;
  readonly #random: Random;
  #made = 0;
  /** Names of pods that were made and not deleted yet. */
  #living: string[] = [];

  constructor(deps: { client: ApiClient; runtime: RuntimeService; namespace: string; random: Random }) {
    this.#client = deps.client;
    this.#runtime = deps.runtime;
    this.#namespace = deps.namespace;
    this.#random = deps.random;
  }

  get living(): readonly string[] {
    return this.#living;
  }

  get made(): number {
    return this.#made;
  }

  /** The namespace and what its pods use. */
  async prepare(): Promise<void> {
    const at = { namespace: this.#namespace };
    await this.#client.create(namespaces, {}, { metadata: { name: this.#namespace } });
    await this.#client.create(configMaps, at, { metadata: { name: CONFIG }, data: { key: 'value' } });
    await this.#client.create(secrets, at, { metadata: { name: CONFIG }, stringData: { password: 'secret' } });
    const account = { ...at, name: 'default' };
    const exists = () =>
      this.#client.get(serviceAccounts, account).then(
        () => true,
        (err: unknown) => {
          if (isNotFound(err)) return false;
          throw err;
        },
      );
    if (!(await until(exists, Boolean, SERVICE_ACCOUNT_MS))) throw new Error('the service account is not made');
  }

  /** One thing that a user, or bad luck, does. Returns what it was. */
  async step(): Promise<string> {
    const random = this.#random;
    if (this.#living.length < 2) return await this.#create();
    if (this.#living.length >= MOST_PODS) return await this.#delete();
    const act = random.next();
    if (act < 0.4) return await this.#create();
    if (act < 0.6) return await this.#delete();
    if (act < 0.75) return await this.#crash();
    if (act < 0.85) return await this.#changeConfig();
    return await this.#changePod();
  }

  async deleteAll(): Promise<void> {
    for (const name of this.#living) await this.#remove(name, this.#random.chance(0.3) ? 0 : undefined);
    this.#living = [];
  }

  async #create(): Promise<string> {
    const make = this.#random.pick(Object.keys(MAKES));
    const name = `${make}-${this.#made++}`;
    const spec = { nodeName: NODE, terminationGracePeriodSeconds: 2, ...MAKES[make]!(this.#random) };
    const pod: Pod = { metadata: { name, namespace: this.#namespace }, spec };
    await this.#client.create(pods, { namespace: this.#namespace }, pod);
    this.#living.push(name);
    return `create ${name}`;
  }

  async #delete(): Promise<string> {
    const name = this.#random.pick(this.#living);
    this.#living = this.#living.filter((n) => n !== name);
    const graceSeconds = this.#random.pick([undefined, undefined, 1, 0]);
    await this.#remove(name, graceSeconds);
    return `delete ${name}, grace ${graceSeconds ?? 'its own'}`;
  }

  async #remove(name: string, graceSeconds: number | undefined): Promise<void> {
    const opts = graceSeconds === undefined ? {} : { gracePeriodSeconds: graceSeconds };
    await this.#client.delete(pods, { namespace: this.#namespace, name }, opts);
  }

  /** A process that is killed from outside, be it the container's or the sandbox's. */
  async #crash(): Promise<string> {
    const running = await this.#runtime.listContainers({ state: { state: 'CONTAINER_RUNNING' } });
    if (running.length === 0) return 'crash nothing';
    const victim = this.#random.pick(running.sort((a, b) => (a.id < b.id ? -1 : 1)));
    const who = `${victim.labels['io.kubernetes.pod.name']} ${victim.labels['io.kubernetes.container.name']}`;
    try {
      if (this.#random.chance(0.2)) {
        await this.#runtime.stopPodSandbox(victim.podSandboxId);
        return `stop the sandbox of ${who}`;
      }
      await this.#runtime.stopContainer(victim.id, 0);
    } catch (err) {
      if (!isCriError(err)) throw err; // the agent may be ending or removing it as well
    }
    return `kill ${who}`;
  }

  async #changeConfig(): Promise<string> {
    const body = { data: { key: `value ${this.#random.int(0, 1e9)}` } };
    await this.#client.patch(configMaps, { namespace: this.#namespace, name: CONFIG }, { type: 'merge', body });
    return 'change the configMap';
  }

  /** Another image, for which the container is started anew; or an annotation, for which nothing is. */
  async #changePod(): Promise<string> {
    const at = { namespace: this.#namespace, name: this.#random.pick(this.#living) };
    const anew = this.#random.chance(0.5);
    const body = anew
      ? { spec: { containers: [{ name: at.name.startsWith('init') ? 'left' : 'main', image: 'busybox:1.36' }] } }
      : { metadata: { annotations: { changed: String(this.#random.int(0, 1e9)) } } };
    await this.#client.patch(pods, at, { type: 'strategic', body });
    return `change the ${anew ? 'image' : 'annotations'} of ${at.name}`;
  }
}
