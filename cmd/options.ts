// Options that several commands take in the same form.
import { isIP } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import { parseCidr } from '../api/cidr.ts';

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

/** The empty text would be the directory in which somebody happens to be. */
export function directory(text: string): string {
  if (text === '') throw new InvalidArgumentError('expected a directory.');
  return text;
}

/** Reads a range of addresses, e.g. 10.244.0.0/16. */
export function cidr(text: string): string {
  try {
    parseCidr(text);
    return text;
  } catch {
    throw new InvalidArgumentError('expected a CIDR such as 10.244.0.0/16.');
  }
}

/** Reads an IPv4 or IPv6 address. */
export function ipAddress(text: string): string {
  if (isIP(text) !== 0) return text;
  throw new InvalidArgumentError('expected an IP address.');
}
