// TLS as the configuration names it (Go's and IANA's names) in the words of OpenSSL. Pure.
import type { SecureVersion, TlsOptions } from 'node:tls';
import { AgentError } from '../../core/errors.ts';

export interface TlsSettings {
  /** `VersionTLS10` … `VersionTLS13`; '' is TLS 1.2. */
  readonly minVersion: string;
  /** IANA names; empty: all that are thought safe. TLS 1.3 has its own and lets none be chosen. */
  readonly cipherSuites: readonly string[];
  /** Go's CurveIDs; empty: the usual ones. */
  readonly curves: readonly number[];
}

export const DEFAULT_TLS: TlsSettings = { minVersion: '', cipherSuites: [], curves: [] };

const VERSIONS: Readonly<Record<string, SecureVersion>> = {
  VersionTLS10: 'TLSv1',
  VersionTLS11: 'TLSv1.1',
  VersionTLS12: 'TLSv1.2',
  VersionTLS13: 'TLSv1.3',
};

const CIPHERS: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: 'ECDHE-ECDSA-AES128-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: 'ECDHE-RSA-AES128-SHA256',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
  TLS_RSA_WITH_AES_128_CBC_SHA256: 'AES128-SHA256',
};
/** Go lists them; they are always on with TLS 1.3. */
const TLS13_SUITES = new Set(['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']);

const CURVES: Readonly<Record<number, string>> = {
  23: 'P-256',
  24: 'P-384',
  25: 'P-521',
  29: 'X25519',
  4588: 'X25519MLKEM768',
};

/** @throws {AgentError} CONFIG_INVALID for a name that is not known. */
export function tlsOptions({ minVersion, cipherSuites, curves }: TlsSettings): TlsOptions {
  const ciphers = cipherSuites
    .filter((name) => !TLS13_SUITES.has(name))
    .map((name) => named(CIPHERS, name, 'tlsCipherSuites'));
  const groups = curves.map((id) => named(CURVES, id, 'tlsCurvePreferences'));
  const version = minVersion === '' ? 'TLSv1.2' : named(VERSIONS, minVersion, 'tlsMinVersion');
  return {
    minVersion: version,
    ...(ciphers.length === 0 ? {} : { ciphers: ciphers.join(':') }),
    ...(groups.length === 0 ? {} : { ecdhCurve: groups.join(':') }),
  };
}

function named<V>(table: Readonly<Record<string | number, V>>, name: string | number, field: string): V {
  if (Object.hasOwn(table, name)) return table[name]!;
  const hint = `use some of ${Object.keys(table).join(', ')}`;
  throw new AgentError(`${field}: ${JSON.stringify(name)} is not supported`, { code: 'CONFIG_INVALID', hint });
}
