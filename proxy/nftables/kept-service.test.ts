import { expect, test } from 'vitest';
import { fingerprint } from '../fingerprint.ts';
import { NOTHING_KEPT, packService, unpackService } from './kept-service.ts';
import type { NftService } from './service-rules.ts';

const web: NftService = {
  elements: [
    { container: 'cluster-ips', key: '10.96.0.50', value: '', comment: '' },
    { container: 'no-endpoint-services', key: '10.96.0.50 . tcp . 80', value: 'drop', comment: 'default/web:http' },
  ],
  chains: new Map([
    ['service-ULMVA6XW-default/web/tcp/http', ['numgen random mod 2 vmap { 0 : goto a , 1 : goto b }']],
    ['external-ULMVA6XW-default/web/tcp/http', []],
  ]),
  affinitySets: new Map([['affinity-5OJB2KTY-default/web/tcp/http__10.244.1.5/8080', 10_800]]),
};

test('what is remembered of a Service is all that a later change must know', () => {
  const kept = unpackService(packService(web));
  expect(kept.elements).toEqual(web.elements);
  expect(kept.affinitySets).toEqual(web.affinitySets);
  expect([...kept.chains]).toEqual([...web.chains].map(([name, rules]) => [name, fingerprint(rules)]));
});

test('a Service that has nothing is remembered as one', () => {
  const nothing = { elements: [], chains: new Map(), affinitySets: new Map() };
  expect(unpackService(packService(nothing))).toEqual(NOTHING_KEPT);
});
