import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WireWriter } from '../../api/protobuf-wire.ts';
import { StatusError } from '../status-error.ts';
import { decodeProtobuf } from './decoder.ts';
import { MESSAGES } from './messages.ts';
import { type Field, type MessageType, messageType } from './schema.ts';

// The encoder is the tests' own: it writes what Go writes, by the same tables but with none of the decoder's code.
function envelope(apiVersion: string, kind: string, object: object): Buffer {
  const typeMeta = message((w) => {
    text(w, 1, apiVersion);
    text(w, 2, kind);
  });
  const unknown = message((w) => {
    bytes(w, 1, typeMeta);
    bytes(w, 2, encodeMessage(object, messageType(apiVersion, kind)!));
  });
  return Buffer.concat([Buffer.from('k8s\0'), unknown]);
}

function message(write: (w: WireWriter) => void): Buffer {
  const writer = new WireWriter();
  write(writer);
  return Buffer.from(writer.finish());
}

function bytes(w: WireWriter, field: number, value: Uint8Array): void {
  w.tag(field, 2);
  w.bytes(value);
}

function text(w: WireWriter, field: number, value: string): void {
  bytes(w, field, Buffer.from(value));
}

function encodeMessage(object: object, type: MessageType): Buffer {
  return message((w) => {
    for (const [number, field] of type.fields) {
      const value = field.inline ? object : (object as Record<string, unknown>)[field.name];
      if (field.shape === 'list') for (const item of (value ?? []) as unknown[]) encodeField(w, number, field, item);
      else if (field.shape === 'map') {
        for (const [k, v] of Object.entries(value ?? {})) {
          bytes(
            w,
            number,
            message((e) => {
              text(e, 1, k);
              encodeField(e, 2, field, v);
            }),
          );
        }
      } else if (value !== undefined) encodeField(w, number, field, value);
      else if (!field.pointer && field.type === 's')
        text(w, number, ''); // as Go does
      else if (!field.pointer && (field.type === 'i' || field.type === 'b')) encodeField(w, number, field, 0);
    }
  });
}

function encodeField(w: WireWriter, number: number, field: Field, value: unknown): void {
  if (field.type === 'i' || field.type === 'b') {
    w.tag(number, 0);
    w.integer(Number(value));
  } else bytes(w, number, encodeDelimited(field, value));
}

function encodeDelimited(field: Field, value: unknown): Buffer {
  switch (field.type) {
    case 's':
      return Buffer.from(value as string);
    case 'y':
      return Buffer.from(value as string, 'base64');
    case 'Quantity':
      return message((q) => text(q, 1, value as string));
    case 'Time':
    case 'MicroTime':
      return encodeTime(value as string);
    case 'IntOrString':
      return encodeIntOrString(value as string | number);
    case 'RawExtension':
    case 'FieldsV1':
      return message((r) => text(r, 1, JSON.stringify(value)));
    case 'ExtraValue':
      return message((e) => {
        for (const v of value as string[]) text(e, 1, v);
      });
    default:
      return encodeMessage(value as object, field.message!);
  }
}

const encodeTime = (value: string): Buffer =>
  message((w) => {
    w.tag(1, 0);
    w.integer(Math.floor(Date.parse(value) / 1000));
    w.tag(2, 0);
    w.integer(Number(/\.(\d{6})/.exec(value)?.[1] ?? 0) * 1000);
  });

const encodeIntOrString = (value: string | number): Buffer =>
  message((w) => {
    w.tag(1, 0);
    w.integer(typeof value === 'string' ? 1 : 0);
    w.tag(2, 0);
    w.integer(typeof value === 'string' ? 0 : value);
    text(w, 3, typeof value === 'string' ? value : '');
  });

const hint = { group: '', version: 'v1', kind: 'Pod' };

function expectRoundTrip(object: { apiVersion: string; kind: string }): void {
  expect(decodeProtobuf(envelope(object.apiVersion, object.kind, object), hint)).toEqual(object);
}

test('a Deployment comes back as it was written', () => {
  expectRoundTrip({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: {
      name: 'web',
      labels: { app: 'web', empty: '' },
      creationTimestamp: '2026-01-02T03:04:05Z',
      managedFields: [{ manager: 'kubectl', fieldsV1: { 'f:spec': {} } }],
    },
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: 'web' } },
      strategy: { rollingUpdate: { maxSurge: '25%', maxUnavailable: 0 } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: {
          terminationGracePeriodSeconds: 0,
          volumes: [
            { name: 'v', emptyDir: {} },
            { name: 'c', configMap: { name: 'x', optional: false } },
          ],
          containers: [
            {
              name: 'c',
              image: 'busybox',
              args: ['', 'x'],
              ports: [{ containerPort: 80 }],
              resources: { limits: { cpu: '500m' } },
              livenessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 5 },
              securityContext: { runAsUser: -1, privileged: false },
              env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
            },
          ],
        },
      },
    },
  } as never);
});

test('claims of devices, what drivers advertise, and their own configuration in it', () => {
  const apiVersion = 'resource.k8s.io/v1';
  const opaque = { driver: 'd.x', parameters: { kind: 'Settings', apiVersion: 'd.x/v1', level: 3 } };
  expectRoundTrip({
    apiVersion,
    kind: 'ResourceClaim',
    metadata: { name: 'gpu' },
    spec: {
      devices: {
        requests: [{ name: 'r', exactly: { deviceClassName: 'c', allocationMode: 'ExactCount', count: 1 } }],
        config: [{ requests: ['r'], opaque }],
      },
    },
    status: {
      allocation: {
        devices: {
          results: [
            { request: 'r', driver: 'd.x', pool: 'p', device: 'x', adminAccess: false, consumedCapacity: { m: '1Gi' } },
          ],
          config: [{ source: 'FromClaim', opaque }],
        },
      },
      reservedFor: [{ resource: 'pods', name: 'web', uid: 'u' }],
    },
  } as never);
  expectRoundTrip({
    apiVersion,
    kind: 'ResourceSlice',
    metadata: { name: 's' },
    spec: {
      driver: 'd.x',
      nodeName: 'n',
      pool: { name: 'n', generation: 1, resourceSliceCount: 1 },
      devices: [
        {
          name: 'x',
          attributes: {
            cores: { int: 0 },
            fast: { bool: false },
            model: { string: 'm' },
            driver: { version: '1.0.0' },
          },
          capacity: { memory: { value: '40Gi' } },
        },
      ],
    },
  } as never);
});

test('kinds with unusual members', () => {
  expectRoundTrip({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's' },
    data: { k: 'AP8=' },
    type: 'Opaque',
  } as never);
  expectRoundTrip({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    rules: [{ verbs: ['get'], apiGroups: [''] }],
  } as never);
  expectRoundTrip({
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    spec: { holderIdentity: '', renewTime: '2026-01-02T03:04:05.000123Z' },
  } as never);
  expectRoundTrip({
    apiVersion: 'autoscaling/v1',
    kind: 'Scale',
    spec: { replicas: 0 },
    status: { replicas: 0 },
  } as never);
  expectRoundTrip({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.1'], conditions: { ready: false } }],
  } as never);
  expectRoundTrip({
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: { user: 'u', extra: { a: ['b', ''] }, nonResourceAttributes: { path: '/', verb: 'get' } },
  } as never);
  expectRoundTrip({ apiVersion: 'apps/v1', kind: 'ControllerRevision', data: { a: 1 }, revision: 3 } as never);
  expectRoundTrip({
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name: 'p' },
    deleteOptions: { gracePeriodSeconds: 0 },
  } as never);
});

test('a DELETE body is DeleteOptions, whatever version it claims', () => {
  const body = envelope('meta.v1', 'DeleteOptions', { gracePeriodSeconds: 0, propagationPolicy: 'Foreground' });
  const renamed = Buffer.from(body.toString('latin1').replace('meta.v1', 'apps/v1'), 'latin1');
  expect(decodeProtobuf(renamed, hint)).toEqual({
    kind: 'DeleteOptions',
    apiVersion: 'apps/v1',
    gracePeriodSeconds: 0,
    propagationPolicy: 'Foreground',
  });
});

test('unset is left out; unknown fields are stepped over; the kind may come from the path', () => {
  const spec = message((w) => {
    text(w, 4999, 'from the future');
    w.tag(16, 0);
    w.integer(7);
  });
  const body = Buffer.concat([
    Buffer.from('k8s\0'),
    message((w) =>
      bytes(
        w,
        2,
        message((o) => bytes(o, 2, spec)),
      ),
    ),
  ]);
  expect(() => decodeProtobuf(body, hint)).toThrow(StatusError); // field 16 (hostname) is text, not a number
  const podWithoutType = Buffer.concat([
    Buffer.from('k8s\0'),
    message((w) =>
      bytes(
        w,
        2,
        message((o) =>
          bytes(
            o,
            1,
            message((m) => text(m, 1, 'p')),
          ),
        ),
      ),
    ),
  ]);
  expect(decodeProtobuf(podWithoutType, hint)).toEqual({ kind: 'Pod', apiVersion: 'v1', metadata: { name: 'p' } });
});

test('an empty pod selector is written out, for it means all pods', () => {
  const policy = { metadata: { name: 'deny' }, spec: { policyTypes: ['Ingress'] } };
  expect(decodeProtobuf(envelope('networking.k8s.io/v1', 'NetworkPolicy', policy), hint)).toMatchObject({
    spec: { podSelector: {} },
  });
});

test('a label called __proto__ is a label', () => {
  const labels = JSON.parse('{"__proto__":"x"}') as object;
  const pod = decodeProtobuf(envelope('v1', 'Pod', { metadata: { labels } }), hint);
  expect(Object.keys(pod.metadata!.labels!)).toEqual(['__proto__']);
});

test('what is no such body is 400, an unknown kind 415, an unserved volume 422', () => {
  const codeOf = (body: Buffer): number => {
    try {
      decodeProtobuf(body, hint);
      return 200;
    } catch (err) {
      return (err as StatusError).code;
    }
  };
  expect(codeOf(Buffer.from('{}'))).toBe(400);
  expect(codeOf(Buffer.alloc(0))).toBe(400);
  const unknownKind = Buffer.from(envelope('v1', 'Pod', {}).toString('latin1').replace('Pod', 'Foo'), 'latin1');
  expect(codeOf(unknownKind)).toBe(415);
  const wrap = (field: number, inner: Buffer): Buffer => message((w) => bytes(w, field, inner));
  // raw → Pod.spec → volumes → volumeSource → gitRepo
  const gitRepo = wrap(2, wrap(2, wrap(1, wrap(2, wrap(5, Buffer.of())))));
  expect(codeOf(Buffer.concat([Buffer.from('k8s\0'), gitRepo]))).toBe(422);
  // raw → metadata → creationTimestamp, whose seconds are a text
  const timeOfText = wrap(2, wrap(1, wrap(8, wrap(1, Buffer.from('now')))));
  expect(codeOf(Buffer.concat([Buffer.from('k8s\0'), timeOfText]))).toBe(400);
});

test('hostile bytes end in a Status, never in another error', () => {
  const good = envelope('v1', 'Pod', {
    metadata: { name: 'p', labels: { a: 'b' } },
    spec: { containers: [{ name: 'c' }] },
  });
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.uint8Array({ minLength: 1, maxLength: 12 }), (at, noise) => {
      const bad = Buffer.from(good);
      bad.set(noise.subarray(0, bad.length - at), at);
      try {
        decodeProtobuf(bad, hint);
      } catch (err) {
        expect(err).toBeInstanceOf(StatusError);
      }
    }),
    { numRuns: 2000 },
  );
});

test('every message that a table names has a table', () => {
  const special = /^(Time|MicroTime|Quantity|IntOrString|FieldsV1|RawExtension|ExtraValue|[sibyd!])$/;
  for (const [group, lines] of Object.entries(MESSAGES)) {
    for (const line of lines.trim().split('\n')) {
      const type = messageType(group, line.split(':')[0]!);
      for (const field of type!.fields.values()) {
        if (!special.test(field.type)) expect(field.message, `${line.split(':')[0]}.${field.name}`).toBeDefined();
      }
    }
  }
});
