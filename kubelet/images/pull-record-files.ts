// The files that say which images this node pulled, and with whose credentials, so that a pod without them cannot use
// a private image that another one brought. Layout and content of kubelet.config.k8s.io/v1beta1
// (pkg/kubelet/images/pullmanager/fs_pullrecords.go): a kubelet put in this agent's place reads them, and vice versa.
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../core/errors.ts';
import { writeFileAtomic } from '../../host/files.ts';

const API_VERSION = 'kubelet.config.k8s.io/v1beta1';
const FILE_NAME = /^sha256-[0-9a-f]{64}$/;

export interface SecretUse {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Of the credential that worked, so that a renamed copy of the secret is known, too. */
  readonly credentialHash: string;
}

export interface ServiceAccountUse {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
}

/** Who may use an image: every pod, or those with one of these. */
export interface PullAccess {
  readonly nodePodsAccessible?: boolean;
  readonly kubernetesSecrets?: readonly SecretUse[];
  readonly kubernetesServiceAccounts?: readonly ServiceAccountUse[];
}

export interface PulledRecord {
  /** RFC 3339. */
  readonly lastUpdatedTime: string;
  /** The runtime's id of the image. */
  readonly imageRef: string;
  /** By image name without tag and digest. */
  readonly credentialMapping: Readonly<Record<string, PullAccess>>;
}

export class PullRecordFiles {
  readonly #pulling: string;
  readonly #pulled: string;

  /** `rootDir` is the kubelet's. */
  constructor(rootDir: string) {
    this.#pulling = path.join(rootDir, 'image_manager', 'pulling');
    this.#pulled = path.join(rootDir, 'image_manager', 'pulled');
  }

  /** Makes the directories, and removes what a write that was killed left. Idempotent. */
  async prepare(): Promise<void> {
    for (const dir of [this.#pulling, this.#pulled]) {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      for (const name of await readdir(dir)) {
        if (name.startsWith('.sha256-')) await rm(path.join(dir, name), { force: true });
      }
    }
  }

  async hasIntent(image: string): Promise<boolean> {
    return (await readJson(path.join(this.#pulling, fileName(image)))) !== undefined;
  }

  async writeIntent(image: string): Promise<void> {
    await this.#write(this.#pulling, image, { apiVersion: API_VERSION, kind: 'ImagePullIntent', image });
  }

  async removeIntent(image: string): Promise<void> {
    await rm(path.join(this.#pulling, fileName(image)), { force: true });
  }

  /** Images whose pull has begun and of which nobody wrote how it ended. */
  async intents(): Promise<string[]> {
    const all = await readAll(this.#pulling);
    return all.flatMap((v) => (typeof v.image === 'string' ? [v.image] : []));
  }

  /** @throws when there is a file that cannot be understood: then it is not known who may use the image. */
  async pulled(imageRef: string): Promise<PulledRecord | undefined> {
    const value = await readJson(path.join(this.#pulled, fileName(imageRef)));
    return value === undefined ? undefined : asPulledRecord(value);
  }

  async writePulled(record: PulledRecord): Promise<void> {
    const { lastUpdatedTime, imageRef, credentialMapping } = record;
    const head = { apiVersion: API_VERSION, kind: 'ImagePulledRecord' };
    await this.#write(this.#pulled, imageRef, { ...head, lastUpdatedTime, imageRef, credentialMapping });
  }

  async removePulled(imageRef: string): Promise<void> {
    await rm(path.join(this.#pulled, fileName(imageRef)), { force: true });
  }

  /** Those that can be understood. */
  async allPulled(): Promise<PulledRecord[]> {
    const records: PulledRecord[] = [];
    for (const value of await readAll(this.#pulled)) {
      try {
        records.push(asPulledRecord(value));
      } catch {
        // Nobody can say of which image it was; whoever pulls that image writes it anew.
      }
    }
    return records;
  }

  async #write(dir: string, key: string, value: object): Promise<void> {
    await writeFileAtomic(path.join(dir, fileName(key)), JSON.stringify(value), 0o600);
  }
}

export function fileName(key: string): string {
  return `sha256-${createHash('sha256').update(key).digest('hex')}`;
}

type Json = Readonly<Record<string, unknown>>;

function asPulledRecord(value: Json): PulledRecord {
  const { imageRef, lastUpdatedTime, credentialMapping } = value;
  if (value.kind !== 'ImagePulledRecord' || typeof imageRef !== 'string') throw new Error('not an ImagePulledRecord');
  return {
    imageRef,
    lastUpdatedTime: typeof lastUpdatedTime === 'string' ? lastUpdatedTime : '',
    credentialMapping: (typeof credentialMapping === 'object' && credentialMapping !== null
      ? credentialMapping
      : {}) as PulledRecord['credentialMapping'],
  };
}

/** Undefined when there is no such file. @throws for one that holds no object. */
async function readJson(file: string): Promise<Json | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error(`${file} holds no object`);
  return value as Json;
}

async function readAll(dir: string): Promise<Json[]> {
  const values: Json[] = [];
  for (const name of (await readdir(dir)).filter((n) => FILE_NAME.test(n))) {
    try {
      const value = await readJson(path.join(dir, name));
      if (value !== undefined) values.push(value);
    } catch {
      // broken by a crash or by hand: as for one that is not there, access has to be shown again
    }
  }
  return values;
}
