// What every parser in this room throws: the text is at fault, and the message names it.

export class ParseError extends Error {
  override readonly name = 'ParseError';

  constructor(what: string, text: string, why: string) {
    // Hostile input may be megabytes long; a message never is.
    const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
    super(`invalid ${what} ${JSON.stringify(shown)}: ${why}`);
  }
}
