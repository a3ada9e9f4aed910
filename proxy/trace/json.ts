// Narrowing of JSON that another program wrote. A wrong shape is a fault of that program or of this reader, told as such.
import { AgentError } from '../../core/errors.ts';

export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws {AgentError} RULES_UNREADABLE */
export function asObject(value: unknown): JsonObject {
  return isObject(value) ? value : fail('an object', value);
}

/** @throws {AgentError} RULES_UNREADABLE */
export function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : fail('a list', value);
}

/** @throws {AgentError} RULES_UNREADABLE */
export function asText(value: unknown): string {
  return typeof value === 'string' ? value : fail('a string', value);
}

function fail(wanted: string, value: unknown): never {
  throw new AgentError(`nft printed ${JSON.stringify(value)?.slice(0, 100)} where ${wanted} belongs`, {
    code: 'RULES_UNREADABLE',
    hint: 'report it with the version of nft (nft --version)',
  });
}
