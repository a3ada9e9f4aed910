// The verbs on stored resources over HTTP.
import { isObject } from '../api/patch/json-value.ts';
import type { Clock } from '../core/clock.ts';
import { decodeYaml, mediaTypeOf, parseJson, readBody } from './body.ts';
import { findDuplicateFields } from './json-duplicates.ts';
import { negotiate } from './negotiation.ts';
import { applyPatch, type PatchType } from './patching.ts';
import {
  deleteParameters,
  type ListParameters,
  listParameters,
  tooLargeVersion,
  type WriteParameters,
  writeParameters,
} from './query-options.ts';
import type { AnyObject } from './registry/definition.ts';
import type { Endpoint } from './registry/registry.ts';
import type { WriteContext } from './registry/resource-store.ts';
import { makeFilter } from './registry/selectors.ts';
import { includeObjectOf, ResourceAnswers } from './resource-answers.ts';
import { ResourceBodies, type ResourceBodiesDeps } from './resource-bodies.ts';
import type { ResourceCall } from './resource-call.ts';
import { applyScale, type Scale, scaleOf } from './scale.ts';
import { serverSideApply } from './server-side-apply.ts';
import { badRequest, methodNotSupported, StatusError, unknownPath } from './status-error.ts';
import { WatchStream } from './watch-handler.ts';

export interface ResourceHandlerDeps extends ResourceBodiesDeps {
  readonly clock: Clock;
}

const PATCH_TYPES: Readonly<Record<string, PatchType>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
};
const APPLY_TYPE = 'application/apply-patch+yaml';
/** How long a read may wait for a revision that was not reached yet. */
const FRESH_READ_WAIT_MS = 3_000;
const FRESH_READ_STEP_MS = 50;

export class ResourceHandler {
  readonly #clock: Clock;
  readonly #bodies: ResourceBodies;
  readonly #answers: ResourceAnswers;

  constructor(deps: ResourceHandlerDeps) {
    this.#clock = deps.clock;
    this.#bodies = new ResourceBodies(deps);
    this.#answers = new ResourceAnswers(deps.clock);
  }

  /** @throws {StatusError} */
  async handle(call: ResourceCall): Promise<void> {
    const { info, endpoint, warnings } = call;
    const { definition } = endpoint.resource;
    if (definition.deprecation !== undefined && endpoint.conversion === undefined) warnings.add(definition.deprecation);
    if (info.subresource !== '' && !servesSubresource(endpoint, info.subresource)) throw unknownPath();
    if (info.subresource !== '' && !['get', 'update', 'patch'].includes(info.verb)) throw this.#unsupported(call);
    switch (info.verb) {
      case 'get':
        return this.#get(call);
      case 'list':
        return this.#list(call);
      case 'watch':
        return this.#watch(call);
      case 'create':
        return this.#create(call);
      case 'update':
        return this.#update(call);
      case 'patch':
        return this.#patch(call);
      case 'delete':
        return this.#delete(call);
      case 'deletecollection':
        return this.#deleteCollection(call);
      default:
        throw this.#unsupported(call);
    }
  }

  #unsupported({ info }: ResourceCall): StatusError {
    return methodNotSupported({ group: info.group, resource: info.resource }, info.verb);
  }

  async #get(call: ResourceCall): Promise<void> {
    const { info, endpoint } = call;
    const wanted = Number(info.query.get('resourceVersion') ?? 0);
    await this.#waitForRevision(endpoint, Number.isSafeInteger(wanted) ? wanted : 0);
    await this.#answers.sendItem(call, 200, endpoint.resource.get(info.namespace, info.name));
  }

  async #list(call: ResourceCall): Promise<void> {
    const { info, endpoint } = call;
    const p = listParameters(info.query, false);
    const filter = this.#filter(endpoint, p);
    await this.#waitForRevision(endpoint, p.resourceVersion ?? 0);
    const page = endpoint.resource.list({
      namespace: info.namespace,
      filter,
      limit: p.limit,
      continue: p.continue,
      exactRevision: p.match === 'Exact' ? p.resourceVersion : undefined,
    });
    await this.#answers.sendList(call, page);
  }

  /** @throws {StatusError} 504 when the store does not get there in time. */
  async #waitForRevision(endpoint: Endpoint, wanted: number): Promise<void> {
    const refusal = await this.#tooFarAhead(endpoint, wanted);
    if (refusal !== undefined) throw refusal;
  }

  /** Waits for the store to get to `wanted`; 504 when it does not in time. */
  async #tooFarAhead({ resource }: Endpoint, wanted: number): Promise<StatusError | undefined> {
    const deadline = this.#clock.monotonicMs() + FRESH_READ_WAIT_MS;
    while (resource.revision < wanted) {
      if (this.#clock.monotonicMs() >= deadline) return tooLargeVersion(wanted, resource.revision);
      await this.#clock.sleep(FRESH_READ_STEP_MS);
    }
    return undefined;
  }

  async #watch(call: ResourceCall): Promise<void> {
    const { info, endpoint, response } = call;
    const form = negotiate(call.request.headers.accept);
    const p = listParameters(info.query, true);
    const fresh = p.resourceVersion === undefined || p.resourceVersion === 0;
    // What is there already is told as of that version or a later one.
    const refusal =
      p.sendInitialEvents === true ? await this.#tooFarAhead(endpoint, p.resourceVersion ?? 0) : undefined;
    const stream = new WatchStream(
      {
        endpoint,
        namespace: info.namespace,
        filter: this.#filter(endpoint, p),
        from: fresh ? undefined : p.resourceVersion,
        initialEvents: p.sendInitialEvents ?? fresh,
        initialEventsEnd: p.sendInitialEvents === true && p.allowWatchBookmarks,
        bookmarks: p.allowWatchBookmarks,
        timeoutMs: p.timeoutMs,
        refusal,
        rendering: { form, includeObject: includeObjectOf(info) },
      },
      response,
      this.#clock,
    );
    call.warnings.apply(response);
    await stream.run(call.request);
  }

  #filter(endpoint: Endpoint, p: ListParameters) {
    const { definition } = endpoint.resource;
    const fields = endpoint.conversion?.fields ?? definition.fields;
    return makeFilter(definition, p.labelSelector, p.fieldSelector, fields);
  }

  async #create(call: ResourceCall): Promise<void> {
    const { info, endpoint } = call;
    if (info.name !== '') throw this.#unsupported(call);
    if (endpoint.type.namespaced && info.namespace === '') {
      throw badRequest('an empty namespace may not be set during creation');
    }
    const p = writeParameters(info.query, 'CreateOptions');
    const object = await this.#bodies.decode(call, p);
    const stored = endpoint.conversion?.toStored(object) ?? object;
    const item = await endpoint.resource.create(info.namespace, stored, this.#context(call, p));
    await this.#answers.sendItem(call, 201, item);
  }

  async #update(call: ResourceCall): Promise<void> {
    const { info, endpoint } = call;
    const p = writeParameters(info.query, 'UpdateOptions');
    if (info.subresource === 'scale') {
      const scale = await this.#bodies.scale(call);
      return this.#scale(call, p, () => scale);
    }
    const object = await this.#bodies.decode(call, p);
    const named = object.metadata?.name;
    if (named !== undefined && named !== info.name) {
      throw badRequest(`the name of the object (${named}) does not match the name on the URL (${info.name})`);
    }
    object.metadata = { ...object.metadata, name: info.name };
    const stored = endpoint.conversion?.toStored(object) ?? object;
    await this.#write(call, p, true, () => structuredClone(stored));
  }

  async #patch(call: ResourceCall): Promise<void> {
    const { info, endpoint, request } = call;
    const p = writeParameters(info.query, 'PatchOptions');
    const mediaType = mediaTypeOf(request);
    const bytes = await readBody(request);
    if (mediaType === APPLY_TYPE) return this.#apply(call, p, bytes);
    const type = PATCH_TYPES[mediaType];
    if (type === undefined) throw unknownPatchType();
    if (p.force !== undefined) throw forceWithoutApply();
    const text = bytes.toString();
    const patch = parseJson(text);
    this.#bodies.report(call, p, { unknown: [], duplicates: findDuplicateFields(text) });
    if (info.subresource === 'scale') {
      return this.#scale(call, p, (scale) => applyPatch(type, 'Scale', scale as AnyObject, patch) as Scale);
    }
    await this.#write(call, p, false, (current) => {
      const { resourceVersion: _, ...metadata } = current.metadata ?? {};
      const served = endpoint.conversion?.fromStored({ ...current, metadata }) ?? { ...current, metadata };
      // The patch's own parts end up in the object, and an attempt may be repeated.
      const next = applyPatch(type, endpoint.type.kind, served, structuredClone(patch));
      this.#bodies.check(call, p, next);
      return endpoint.conversion?.toStored(next) ?? next;
    });
  }

  async #apply(call: ResourceCall, p: WriteParameters, bytes: Buffer): Promise<void> {
    const { info, endpoint } = call;
    const applied = decodeYaml(bytes.toString());
    if (!isObject(applied)) throw badRequest('the body of an apply patch must be one object');
    const object = structuredClone(applied) as AnyObject;
    this.#bodies.check(call, { ...p, fieldValidation: 'Strict' }, object);
    const nowMs = this.#clock.now();
    const change = (current: AnyObject | undefined) =>
      serverSideApply({
        current,
        applied: object,
        type: endpoint.type,
        subresource: info.subresource,
        parameters: p,
        nowMs,
      });
    if (endpoint.resource.find(info.namespace, info.name) === undefined && info.subresource === '') {
      const created = change(undefined);
      created.metadata = { ...created.metadata, name: info.name };
      const item = await endpoint.resource.create(info.namespace, created, this.#context(call, p));
      return this.#answers.sendItem(call, 201, item);
    }
    await this.#write(call, p, false, (current) => change(current));
  }

  async #write(
    call: ResourceCall,
    p: WriteParameters,
    isPut: boolean,
    change: (current: AnyObject) => AnyObject,
  ): Promise<void> {
    const { info, endpoint } = call;
    const context = this.#context(call, p);
    const { resource } = endpoint;
    const written = await resource.update(info.namespace, info.name, info.subresource, change, context, { isPut });
    await this.#answers.sendItem(call, written.created ? 201 : 200, written.item);
  }

  async #scale(call: ResourceCall, p: WriteParameters, change: (scale: Scale) => Scale): Promise<void> {
    const { info, endpoint } = call;
    const { definition } = endpoint.resource;
    const perform = (current: AnyObject) => {
      const scale = scaleOf(definition, current);
      const { resourceVersion: _, ...metadata } = scale.metadata ?? {};
      return applyScale(current, change({ ...scale, metadata }));
    };
    const { item } = await endpoint.resource.update(info.namespace, info.name, '', perform, this.#context(call, p));
    await this.#answers.sendItem(call, 200, item);
  }

  async #delete(call: ResourceCall): Promise<void> {
    const { info, endpoint } = call;
    const p = deleteParameters(info.query, await this.#bodies.deleteOptions(call));
    const { resource } = endpoint;
    if (resource.definition.orphansByDefault && p.propagationPolicy === undefined && info.resource === 'jobs') {
      call.warnings.add(
        'child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning',
      );
    }
    const context = { ...this.#context(call, { dryRun: p.dryRun }) };
    const { gone, item } = await resource.delete(info.namespace, info.name, p, context);
    if (!gone) return this.#answers.sendItem(call, p.acceptedCode, item);
    const { group, plural } = endpoint.type;
    const uid = item.object.metadata?.uid;
    const details = { name: info.name, ...(group === '' ? {} : { group }), kind: plural, ...(uid ? { uid } : {}) };
    // A pod that goes at once is answered with itself, as upstream does for kinds with graceful deletion.
    if (resource.definition.grace !== undefined) return this.#answers.sendItem(call, 200, item);
    const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
    await this.#answers.send(
      call,
      { ...negotiate(call.request.headers.accept), transform: 'none' },
      200,
      JSON.stringify(status),
    );
  }

  async #deleteCollection(call: ResourceCall): Promise<void> {
    const { info, endpoint } = call;
    const { resource } = endpoint;
    if (resource.definition.verbs?.includes('deletecollection') === false) throw this.#unsupported(call);
    const p = deleteParameters(info.query, await this.#bodies.deleteOptions(call));
    const list = listParameters(info.query, false);
    const page = resource.list({ namespace: info.namespace, filter: this.#filter(endpoint, list) });
    const context = this.#context(call, { dryRun: p.dryRun });
    for (const { object } of page.items) {
      await resource
        .delete(object.metadata?.namespace ?? '', object.metadata?.name ?? '', p, context)
        .catch(ignoreGone);
    }
    await this.#answers.sendList(call, page);
  }

  #context({ info, warnings }: ResourceCall, p: { readonly dryRun: boolean }): WriteContext {
    return { user: info.user, dryRun: p.dryRun, warn: (text) => warnings.add(text) };
  }
}

function servesSubresource(endpoint: Endpoint, subresource: string): boolean {
  const { definition } = endpoint.resource;
  if (subresource === 'status') return definition.status === true;
  if (subresource === 'scale') return definition.scale !== undefined;
  return definition.subresources?.[subresource] !== undefined;
}

function unknownPatchType(): StatusError {
  const accepted = [...Object.keys(PATCH_TYPES), APPLY_TYPE].join(', ');
  const message = `the body of the request was in an unknown format - accepted media types include: ${accepted}`;
  return new StatusError(415, 'UnsupportedMediaType', message);
}

function forceWithoutApply(): StatusError {
  return new StatusError(
    422,
    'Invalid',
    'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
  );
}

function ignoreGone(err: unknown): void {
  if (!(err instanceof StatusError) || err.code !== 404) throw err;
}
