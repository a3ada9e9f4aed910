/**
 * The same text in one piece. A template's result is a tree of its parts until somebody reads it, and a part of a text holds
 * on to the whole: for what is kept by the thousand, both cost more than the text.
 */
export function flatText(text: string): string {
  return Buffer.from(text).toString();
}
