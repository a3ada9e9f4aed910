// Options that several commands take in the same form.
import { InvalidArgumentError, Option } from 'commander';

export type OutputFormat = 'text' | 'json';

/** `-o text` for people, `-o json` for programs. */
export function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text');
}

/** Reads a whole number from `min` to `max`. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}.`);
  };
}
