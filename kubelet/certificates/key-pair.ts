// A certificate with its key as one PEM text, and what is asked of both.
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { KeyPair } from '../../api/pki.ts';

/** What is known of a certificate that was read. */
export interface LoadedPair extends KeyPair {
  /** The first certificate of `cert`. */
  readonly leaf: X509Certificate;
  /** Wall ms. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?/g;
const KEY = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----[^-]*-----END \1PRIVATE KEY-----\n?/;

/** @throws {Error} when there is no certificate or no key in the texts, or when they do not belong together. */
export function loadPair(certPem: string, keyPem: string): LoadedPair {
  const certs = certPem.match(CERTIFICATE) ?? [];
  const key = KEY.exec(keyPem)?.[0];
  if (certs.length === 0) throw new Error('no certificate in it');
  if (key === undefined) throw new Error('no private key in it');
  const cert = certs.map((pem) => (pem.endsWith('\n') ? pem : `${pem}\n`)).join('');
  const leaf = new X509Certificate(certs[0]!);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error('the key is not that of the certificate');
  return { cert, key, leaf, notBeforeMs: Date.parse(leaf.validFrom), notAfterMs: Date.parse(leaf.validTo) };
}

/** Every certificate in a PEM text. @throws {Error} when one of them cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(CERTIFICATE) ?? []).map((text) => new X509Certificate(text));
}

/** A new EC P-256 key, PEM type `EC PRIVATE KEY` as client-go writes it. */
export function createKeyPem(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ format: 'pem', type: 'sec1' }) as string;
}
