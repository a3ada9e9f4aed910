// Numbers and names of ports.
import { type FieldError, invalid } from '../field-errors.ts';

export const PORT_TEXT = 'must be between 1 and 65535, inclusive';

export const isPort = (port: unknown): boolean =>
  Number.isInteger(port) && (port as number) >= 1 && (port as number) <= 65_535;

/** IANA service names: at most 15 characters, at least one letter. */
export function serviceNameFaults(field: string, name: string): FieldError[] {
  if (name.length > 15) return [invalid(field, name, 'must be no more than 15 characters')];
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name)) {
    return [invalid(field, name, 'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)')];
  }
  if (name.includes('--')) return [invalid(field, name, 'must not contain consecutive hyphens')];
  return /[a-z]/.test(name) ? [] : [invalid(field, name, 'must contain at least one letter (a-z)')];
}

/** A number or the name of a port. */
export function targetPortFaults(port: number | string, path: string): FieldError[] {
  if (typeof port === 'string') return serviceNameFaults(path, port);
  return isPort(port) ? [] : [invalid(path, port, PORT_TEXT)];
}
