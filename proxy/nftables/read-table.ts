// Reads back what our table holds of single Services.
import type { Exec } from '../../host/exec.ts';
import { listNft } from '../../host/nft.ts';
import { type ListedElement, parseElements, parseTable, type TableListing } from './listing.ts';
import { CONTAINER_NAMES, type Container, containerKind, familyName, type NftOptions, TABLE } from './table.ts';

export interface TableState extends TableListing {
  /** By container and key; of those that could be read. */
  readonly elements: ReadonlyMap<Container, ReadonlyMap<string, ListedElement>>;
  /** Containers that are there, as far as can be told, with content that cannot be read. */
  readonly unreadable: readonly Container[];
  /** False when chains or sets may be there that could not be read. */
  readonly isWhole: boolean;
}

/**
 * Looks at the table of the family. Affinity sets are not read: they may remember any number of clients.
 * What cannot be read is taken for missing, so that it is written. @throws {AgentError} EXEC_TIMEOUT when cancelled.
 */
export async function readTable(exec: Exec, opts: NftOptions, signal: AbortSignal): Promise<TableState> {
  const at = [familyName(opts), TABLE];
  const table = await listOrFailure(exec, ['list', 'table', ...at], signal);
  const elements = new Map<Container, ReadonlyMap<string, ListedElement>>();
  const unreadable: Container[] = [];
  const isWhole = table !== FAILED;
  if (table === undefined) return { ...(await parseTable(undefined)), elements, unreadable, isWhole };
  for (const name of CONTAINER_NAMES) {
    const text = await listOrFailure(exec, ['list', containerKind(name), ...at, name], signal, 'with elements');
    if (text === FAILED) unreadable.push(name);
    else if (text !== undefined) elements.set(name, await parseElements(text));
  }
  return { ...(await parseTable(isWhole ? table : undefined)), elements, unreadable, isWhole };
}

const FAILED = Symbol('the listing failed');

async function listOrFailure(
  exec: Exec,
  args: readonly string[],
  signal: AbortSignal,
  what: 'terse' | 'with elements' = 'terse',
): Promise<string | undefined | typeof FAILED> {
  try {
    const text = await listNft(exec, args, { signal, withElements: what === 'with elements' });
    // What is cut off must not be taken for all there is: the rest would stay, and lead connections astray.
    const isWhole =
      text === undefined || (/^table /m.test(text.slice(0, 1_000)) && text.slice(-8).trimEnd().endsWith('}'));
    return isWhole ? text : FAILED;
  } catch (err) {
    if (signal.aborted) throw err;
    return FAILED; // a full sync that can only write is still better than none
  }
}
