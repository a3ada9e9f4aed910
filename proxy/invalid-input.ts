// What Services and EndpointSlices hold that must not reach the kernel: left out by those who read them, and told here to
// people, once for each state of an object.
import type { ObjectReference } from '../api/kinds.ts';
import { type KubeObject, objectKey } from '../api/meta.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { Logger } from '../core/log.ts';

/** Takes one sentence about what was left out. Must not throw. */
export type OnInvalid = (note: string) => void;

/** Of one object; the others are counted. */
const MAX_NOTES = 5;

const API_VERSIONS = { Service: 'v1', EndpointSlice: 'discovery.k8s.io/v1' } as const;

export class InvalidInput {
  readonly #events: EventRecorder;
  readonly #log: Logger;
  /** Sentences about the object that is being read, by whichever IP family. */
  readonly #notes = new Set<string>();
  /** What was told last, by kind and key; objects without a fault have no entry. */
  readonly #told = new Map<string, string>();

  constructor(deps: { readonly events: EventRecorder; readonly log: Logger }) {
    this.#events = deps.events;
    this.#log = deps.log;
  }

  readonly onInvalid: OnInvalid = (note) => this.#notes.add(note);

  /** After `object` was read: an Event and a log line when it has other faults than before. */
  tell(kind: keyof typeof API_VERSIONS, object: KubeObject, isGone = false): void {
    const notes = [...this.#notes];
    this.#notes.clear();
    const key = `${kind} ${objectKey(object)}`;
    if (notes.length === 0 || isGone) {
      this.#told.delete(key);
      return;
    }
    const more = notes.length > MAX_NOTES ? `, and ${notes.length - MAX_NOTES} more` : '';
    const text = `not proxied: ${notes.slice(0, MAX_NOTES).join(', ')}${more}`;
    if (this.#told.get(key) === text) return;
    this.#told.set(key, text);
    this.#log.warn({ object: key, cause: text }, 'invalid parts of a Service or EndpointSlice left out');
    const { namespace, name, uid } = object.metadata ?? {};
    const about = { kind, apiVersion: API_VERSIONS[kind], namespace, name, uid };
    this.#events.event(about as ObjectReference, 'Warning', 'InvalidForProxy', text);
  }
}

/** A value from outside as it may stand in a message: short, quoted, in one line. */
export function shown(value: unknown): string {
  return JSON.stringify(String(value).slice(0, 64));
}
