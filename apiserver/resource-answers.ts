// How stored resources are shown to who asked: in the form of the Accept header, with the warnings of the request.
import type { Clock } from '../core/clock.ts';
import { negotiate, PLAIN_JSON, type ResponseForm } from './negotiation.ts';
import { type Rendering, renderItem, renderList } from './object-form.ts';
import type { AnyObject } from './registry/definition.ts';
import type { ListPage } from './registry/resource-reads.ts';
import type { IncludeObject } from './registry/tables/table.ts';
import type { RequestInfo } from './request.ts';
import type { ResourceCall } from './resource-call.ts';
import { sendAnswer } from './responses.ts';
import { scaleOf } from './scale.ts';
import { badRequest } from './status-error.ts';
import type { StoredItem } from './store/stored-item.ts';

export class ResourceAnswers {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async sendItem(call: ResourceCall, code: number, item: StoredItem): Promise<void> {
    const form = negotiate(call.request.headers.accept);
    const { definition } = call.endpoint.resource;
    const json =
      call.info.subresource === 'scale'
        ? JSON.stringify(scaleOf(definition, item.object as AnyObject))
        : renderItem(call.endpoint, item, this.#rendering(call.info, form));
    await this.send(call, form, code, json);
  }

  async send(call: ResourceCall, form: ResponseForm, code: number, json: string): Promise<void> {
    call.warnings.apply(call.response);
    await sendAnswer(call.request, call.response, form ?? PLAIN_JSON, call.info.query, { code, json });
  }

  async sendList(call: ResourceCall, page: ListPage): Promise<void> {
    const form = negotiate(call.request.headers.accept);
    await this.send(call, form, 200, renderList(call.endpoint, page, this.#rendering(call.info, form)));
  }

  #rendering(info: RequestInfo, form: ResponseForm): Rendering {
    return { form, includeObject: includeObjectOf(info), nowMs: this.#clock.now() };
  }
}

export function includeObjectOf(info: RequestInfo): IncludeObject {
  const value = info.query.get('includeObject') ?? 'Metadata';
  if (value === 'None' || value === 'Metadata' || value === 'Object') return value;
  throw badRequest(`invalid includeObject: ${JSON.stringify(value)}`);
}
