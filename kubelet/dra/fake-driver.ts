// A driver of dynamic resources that remembers what it has prepared, and can be told to fail or to hang.
import type { DraClaim, NodePrepareResourceResponse } from '../../cri/gen/messages.ts';
import type { DraCalls } from './dra-client.ts';

type Fault = (call: string, claims: readonly DraClaim[]) => Error | string | Promise<void> | undefined;

export class FakeDriver implements DraCalls {
  readonly name: string;
  /** Each call as `prepare a,b`. */
  readonly calls: string[] = [];
  /** Uids. */
  readonly prepared = new Set<string>();
  /** An error fails the call, a text fails each claim, a promise is awaited first. */
  fault: Fault = () => undefined;
  /** Uids that it says nothing of. */
  skips = new Set<string>();
  /** What it answers besides. */
  extra: Record<string, NodePrepareResourceResponse> = {};

  constructor(name: string) {
    this.name = name;
  }

  async prepare(claims: readonly DraClaim[], signal: AbortSignal): Promise<Map<string, NodePrepareResourceResponse>> {
    const error = await this.#begin('prepare', claims, signal);
    const results = claims.map((c): [string, NodePrepareResourceResponse] => {
      if (error === '') this.prepared.add(c.uid);
      const device = {
        requestNames: [c.name === 'partial' ? 'other' : 'r'],
        poolName: 'pool',
        deviceName: `dev-${c.name}`,
        cdiDeviceIds: [`${this.name}/dev=${c.name}`],
        shareId: '',
      };
      return [c.uid, { devices: [device], error }];
    });
    return new Map([...results.filter(([uid]) => !this.skips.has(uid)), ...Object.entries(this.extra)]);
  }

  async unprepare(claims: readonly DraClaim[], signal: AbortSignal): Promise<Map<string, { error: string }>> {
    const error = await this.#begin('unprepare', claims, signal);
    if (error === '') for (const { uid } of claims) this.prepared.delete(uid);
    return new Map(claims.filter((c) => !this.skips.has(c.uid)).map((c) => [c.uid, { error }]));
  }

  async #begin(call: string, claims: readonly DraClaim[], signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    this.calls.push(`${call} ${claims.map((c) => c.name).join(',')}`);
    const fault = this.fault(call, claims);
    if (fault instanceof Error) throw fault;
    if (typeof fault === 'string') return fault;
    await fault;
    signal.throwIfAborted();
    return '';
  }
}
