// What else nodes write: Events, their CSINode, and the status of their Node.
import { describe, expect, test } from 'vitest';
import type { Node } from '../../../api/kinds.ts';
import type { AnyObject } from '../definition.ts';
import type { FieldError } from '../field-errors.ts';
import { csiNodeFaults, csiNodeUpdateFaults } from './csi-node.ts';
import { eventFaults } from './events.ts';
import { nodeStatusFaults } from './node.ts';

const texts = (faults: readonly FieldError[]) => faults.map((f) => `${f.field}: ${f.message}`);

describe('events', () => {
  const event = (namespace: string, about: string | undefined, more: object = {}) =>
    texts(
      eventFaults({
        metadata: { name: 'e', namespace },
        involvedObject: about === undefined ? { kind: 'Node' } : { kind: 'Pod', namespace: about },
        ...more,
      } as AnyObject),
    );
  const elsewhere = (about: string) => [
    `involvedObject.namespace: Invalid value: "${about}": does not match event.namespace`,
  ];
  const made = { eventTime: '2026-01-01T00:00:00.000000Z', reportingComponent: 'example.com/c' };
  const whole = { ...made, reportingInstance: 'c-1', action: 'Doing', reason: 'Done' };

  test('lie beside what they are about, those about the cluster in default', () => {
    expect(event('web', 'web')).toEqual([]);
    expect(event('web', 'other')).toEqual(elsewhere('other'));
    expect(event('default', undefined)).toEqual([]);
    expect(event('web', undefined)).toEqual(elsewhere(''));
    expect(event('kube-system', undefined)).toEqual(elsewhere(''));
  });

  test('with a time of their own must say who saw what', () => {
    expect(event('kube-system', undefined, whole)).toEqual([]);
    expect(event('web', undefined, whole)).toEqual(elsewhere(''));
    expect(event('web', 'web', made)).toEqual([
      'reportingInstance: Required value',
      'action: Required value',
      'reason: Required value',
    ]);
    expect(event('web', 'web', { ...whole, reason: 'x'.repeat(129), message: 'y'.repeat(1025) })).toEqual([
      'reason: Invalid value: "": can have at most 128 characters',
      'message: Invalid value: "": can have at most 1024 characters',
    ]);
  });

  test('without one may say anything at any length', () => {
    expect(event('web', 'web', { reason: 'x'.repeat(200), message: 'y'.repeat(2000) })).toEqual([]);
  });
});

describe('CSINode', () => {
  const object = (...drivers: object[]) => ({ spec: { drivers } }) as AnyObject;
  const driver = { name: 'd.example.com', nodeID: 'n1', topologyKeys: ['example.com/zone'] };

  test.each<[string, object[], string[]]>([
    ['no driver', [], []],
    ['a driver', [driver, { name: 'e.example.com', nodeID: 'n1', topologyKeys: null, allocatable: { count: 0 } }], []],
    ['no name, no id', [{}], ['spec.drivers[0].name: Required value', 'spec.drivers[0].nodeID: Required value']],
    [
      'a long id',
      [{ name: 'd', nodeID: 'i'.repeat(257) }],
      [`spec.drivers[0].nodeID: Invalid value: "${'i'.repeat(257)}": must be 256 characters or less`],
    ],
    [
      'less than no volume',
      [{ ...driver, allocatable: { count: -1 } }],
      ['spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0'],
    ],
    ['a driver twice', [driver, driver], ['spec.drivers[1].name: Duplicate value: "d.example.com"']],
    [
      'a topology key twice',
      [{ ...driver, topologyKeys: ['zone', 'zone'] }],
      ['spec.drivers[0]: Duplicate value: "zone"'],
    ],
  ])('%s', (_, drivers, expected) => {
    expect(texts(csiNodeFaults(object(...drivers)))).toEqual(expected);
  });

  test('of a driver only the number of volumes changes; a driver may come and go', () => {
    const faults = (...next: object[]) => texts(csiNodeUpdateFaults(object(...next), object(driver)));
    expect(faults({ ...driver, allocatable: { count: 3 } }, { name: 'new', nodeID: 'x' })).toEqual([]);
    expect(faults()).toEqual([]);
    expect(faults({ ...driver, nodeID: 'n2' })[0]).toMatch(/^CSINodeDriver: .*field is immutable$/);
    expect(faults({ ...driver, topologyKeys: [] })[0]).toMatch(/^CSINodeDriver: .*field is immutable$/);
  });
});

test('amounts of a node are whole where they must be; an address stands there once', () => {
  const faults = (status: object) => texts(nodeStatusFaults({ status } as Node));
  const address = { type: 'InternalIP', address: '10.0.0.1' };
  expect(faults({ capacity: { cpu: '1500m', 'example.com/gpu': '2' }, addresses: [address] })).toEqual([]);
  expect(faults({ capacity: { 'example.com/gpu': '1500m' }, allocatable: { memory: '-1' } })).toEqual([
    'status.capacity.example.com/gpu: Invalid value: "1500m": must be an integer',
    'status.allocatable.memory: Invalid value: "-1": must be greater than or equal to 0',
  ]);
  expect(faults({ declaredFeatures: ['A', 'B/c', 'C'] })).toEqual([]);
  expect(faults({ declaredFeatures: ['B', 'A', 'A', 'a b'] })).toEqual([
    'status.declaredFeatures[1]: Invalid value: "A": list must be sorted alphabetically',
    'status.declaredFeatures[2]: Duplicate value: "A"',
    expect.stringMatching(
      /^status\.declaredFeatures\[3\]: Invalid value: "a b": invalid feature name "a b": must start/,
    ),
  ]);
  expect(faults({ addresses: [address, { ...address, type: 'Hostname' }, address] })).toEqual([
    'status.addresses[2]: Duplicate value: {"type":"InternalIP","address":"10.0.0.1"}',
  ]);
});
