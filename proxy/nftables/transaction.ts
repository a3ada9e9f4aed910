// One atomic change of the table as nft reads it: names are declared before anything refers to them, and what refers to
// a name is gone before the name is.
import type { Element, NftService } from './service-rules.ts';
import { type Container, containerKind, familyName, type NftOptions, TABLE } from './table.ts';

/** Elements in one command: nft is much faster with many, and a line must end somewhere. */
const ELEMENTS_PER_COMMAND = 500;

export class Transaction {
  readonly #at: string;
  readonly #declarations: string[] = [];
  readonly #renewals: string[] = [];
  readonly #removed: Element[] = [];
  readonly #added: Element[] = [];
  readonly #rules: string[] = [];
  readonly #deletions: string[] = [];

  constructor(opts: NftOptions, head: readonly string[] = []) {
    this.#at = `${familyName(opts)} ${TABLE}`;
    this.#declarations.push(...head);
  }

  /** Makes the chain when it is missing and replaces its rules. */
  writeChain(name: string, rules: readonly string[]): void {
    this.#declarations.push(`add chain ${this.#at} ${name}`, `flush chain ${this.#at} ${name}`);
    for (const rule of rules) this.#rules.push(`add rule ${this.#at} ${name} ${rule}`);
  }

  addAffinitySet(name: string, timeoutSeconds: number, address: string): void {
    this.#declarations.push(this.#affinitySet(name, timeoutSeconds, address));
  }

  /** A set keeps the timeout it was made with: it is made anew once the chains that use it have been emptied. */
  renewAffinitySet(name: string, timeoutSeconds: number, address: string): void {
    this.#renewals.push(`delete set ${this.#at} ${name}`, this.#affinitySet(name, timeoutSeconds, address));
  }

  /** Empties a chain that nothing leads to any more. It is deleted later: see `deleteChain`. */
  flushChain(name: string): void {
    this.#declarations.push(`flush chain ${this.#at} ${name}`);
  }

  /** Of a chain that was emptied a while ago: kernels before 6.2 notice late that nothing refers to it. */
  deleteChain(name: string): void {
    this.#deletions.push(`delete chain ${this.#at} ${name}`);
  }

  deleteSet(name: string): void {
    this.#deletions.push(`delete set ${this.#at} ${name}`);
  }

  changeElements(removed: Iterable<Element>, added: Iterable<Element>): void {
    for (const element of removed) this.#removed.push(element);
    for (const element of added) this.#added.push(element);
  }

  /** Empty when there is nothing to do. */
  render(): string {
    const lines = [
      ...this.#declarations,
      ...this.#renewals,
      ...this.#elementCommands('delete', this.#removed),
      ...this.#elementCommands('add', this.#added),
    ];
    for (const rule of this.#rules) lines.push(rule); // not push(...): a full sync has tens of thousands
    for (const deletion of this.#deletions) lines.push(deletion);
    return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
  }

  #affinitySet(name: string, timeoutSeconds: number, address: string): string {
    return `add set ${this.#at} ${name} { type ${address} ; flags dynamic,timeout ; timeout ${timeoutSeconds}s ; }`;
  }

  #elementCommands(verb: 'add' | 'delete', elements: readonly Element[]): string[] {
    const byContainer = new Map<Container, string[]>();
    for (const element of elements) {
      const texts = byContainer.get(element.container) ?? [];
      texts.push(elementText(element, verb));
      byContainer.set(element.container, texts);
    }
    const commands: string[] = [];
    for (const [container, texts] of byContainer) {
      for (let i = 0; i < texts.length; i += ELEMENTS_PER_COMMAND) {
        const some = texts.slice(i, i + ELEMENTS_PER_COMMAND).join(' , ');
        commands.push(`${verb} element ${this.#at} ${container} { ${some} }`);
      }
    }
    return commands;
  }
}

function elementText({ container, key, value, comment }: Element, verb: 'add' | 'delete'): string {
  const note = comment === '' || verb === 'delete' ? '' : ` comment "${comment}"`;
  return containerKind(container) === 'set' ? `${key}${note}` : `${key}${note} : ${value}`;
}

/** A Service that has nothing. */
export const NOTHING: NftService = { elements: [], chains: new Map(), affinitySets: new Map() };
