import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { FakeCri } from './fake-cri.ts';
import { ImagePuller } from './image-puller.ts';
import { imagesOf, imageVolumesMissing, pullImageVolumes } from './image-volumes.ts';
import { Keyring } from './registry-auth.ts';

const pod: Pod = {
  metadata: { name: 'p', namespace: 'ns', uid: 'u', annotations: { a: 'b' } },
  spec: {
    containers: [],
    volumes: [
      { name: 'there', image: { reference: 'tools:1', pullPolicy: 'Never' } },
      { name: 'absent', image: { reference: 'none:1', pullPolicy: 'Never' } },
      { name: 'other', emptyDir: {} },
    ],
  },
};

async function pull(missing?: string) {
  const cri = new FakeCri();
  cri.addImage('tools:1');
  const events: string[] = [];
  const recorder = {
    event: (about: { fieldPath?: string }, type: string, reason: string) =>
      events.push(`${about.fieldPath} ${type} ${reason}`),
  };
  const puller = new ImagePuller(
    { maxParallelPulls: 1, pullsPerSecond: 0, pullBurst: 0 },
    { images: cri.services.images, recorder, clock: new FakeClock() },
  );
  const deps = { puller, keyring: async () => new Keyring([]), missing: () => missing };
  return { volumes: await pullImageVolumes(pod, {}, deps, new AbortController().signal), events, cri };
}

test('each is made sure of as the image of a container is, with Events about the pod', async () => {
  const { volumes, events } = await pull();
  expect(Object.fromEntries(volumes)).toEqual({
    there: { spec: { image: 'sha256:tools:1', userSpecifiedImage: 'tools:1', annotations: { a: 'b' } } },
    absent: {
      reason: 'ErrImageNeverPull',
      message: 'Container image "none:1" is not present with pull policy of Never',
    },
  });
  expect(events).toEqual(['undefined Normal Pulled', 'undefined Warning ErrImageNeverPull']);
});

test('only the containers that mount a missing image wait for it', async () => {
  const { volumes } = await pull();
  const of = (...names: string[]) =>
    imagesOf(
      { name: 'c', volumeMounts: names.map((name) => ({ name, mountPath: `/${name}` })) },
      volumes,
      () => undefined,
    );
  expect([...of('there', 'other').images.keys()]).toEqual(['there']);
  expect(of('there', 'other').failures).toEqual([]);
  expect(of('there', 'absent').failures.map((f) => f.reason)).toEqual(['ErrImageNeverPull']);
});

test('a runtime that cannot mount images is not asked to', async () => {
  const { volumes, cri } = await pull('containerd 1.6 does not');
  expect(volumes.get('there')).toEqual({
    reason: 'CreateContainerConfigError',
    message: 'image volume "there" cannot be mounted: containerd 1.6 does not',
  });
  expect(cri.calls).toEqual([]);
});

test.each([
  ['containerd', '1.6.20~ds1', false, false],
  ['containerd', 'v2.0.5', false, false],
  ['containerd', '2.1.9', true, false],
  ['containerd', 'v2.2.0', true, true],
  ['containerd', '3.0', true, true],
  ['cri-o', '1.20', true, true],
])('%s %s mounts images: %s, with a sub-path: %s', (name, version, can, canSubPath) => {
  expect(imageVolumesMissing(name, version, false) === undefined).toBe(can);
  expect(imageVolumesMissing(name, version, true) === undefined).toBe(canSubPath);
});

test('a sub-path that the runtime would ignore is refused', async () => {
  const { volumes } = await pull();
  const container = { name: 'c', volumeMounts: [{ name: 'there', mountPath: '/a', subPath: 'b' }] };
  const missing = (withSubPath: boolean) => (withSubPath ? 'containerd 2.1 does not' : undefined);
  expect(imagesOf(container, volumes, missing).failures).toEqual([
    {
      reason: 'CreateContainerConfigError',
      message: 'image volume "there" cannot be mounted: containerd 2.1 does not',
    },
  ]);
});
