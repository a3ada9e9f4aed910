import { expect, test } from 'vitest';
import { createCsr } from '../../../api/pki.ts';
import { signingRequestFaults } from './certificates.ts';

const request = Buffer.from(createCsr({ commonName: 'u' }).csr).toString('base64');
const GOOD = { request, signerName: 'example.com/signer.of-mine', usages: ['client auth'] };
const faults = (spec: object) =>
  signingRequestFaults({ spec: { ...GOOD, ...spec } }).map((f) => `${f.field}: ${f.message}`);

test.each<[string, object, (string | RegExp)[]]>([
  ['nothing wrong', {}, []],
  ['every usage there is', { usages: ['s/mime', 'any', 'ipsec end system'], expirationSeconds: 600 }, []],
  ['no request', { request: '' }, [/^spec.request: Required value/]],
  ['what is no request', { request: Buffer.from('x').toString('base64') }, [/^spec.request: .*unable to parse csr/]],
  ['a signer without a domain', { signerName: 'mine' }, [/^spec.signerName: .*must be a fully qualified domain/]],
  ['a signer of one label', { signerName: 'local/x' }, [/^spec.signerName: .*must be/]],
  ['a signer with a wrong path', { signerName: 'example.com/X_' }, [/^spec.signerName: .*must be/]],
  ['no usage', { usages: [] }, [/^spec.usages: .*usages must contain at least one value/]],
  ['an unknown usage', { usages: ['client auth', 'flying'] }, [/^spec.usages\[1\]: /]],
  ['a usage twice', { usages: ['any', 'any'] }, [/^spec.usages\[1\]: /]],
  ['a short life', { expirationSeconds: 599 }, [/^spec.expirationSeconds: .*may not specify/]],
])('a signing request: %s', (_what, spec, expected) => {
  const found = faults(spec);
  expect(found).toHaveLength(expected.length);
  for (const [i, one] of expected.entries()) expect(found[i]).toMatch(one);
});
