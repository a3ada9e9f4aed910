import { expect, test } from 'vitest';
import type { Node } from '../../../api/kinds.ts';
import { FakeApi } from '../../../client/fake-client.ts';
import { Store } from '../../../client/store.ts';
import { silentLog } from '../../../core/log.ts';
import { CsiAttachments } from './csi-attachments.ts';
import { uniqueVolumeName } from './csi-paths.ts';
import { CsiRecords } from './csi-records.ts';
import { persistentSpec } from './csi-spec.ts';

const NODE = 'n1';
const signal = new AbortController().signal;
const volume = (driver: string) => uniqueVolumeName(driver, 'h');

function attachmentsOf(status: Node['status'] = {}) {
  const ownNode = new Store<Node>();
  ownNode.replace([{ metadata: { name: NODE }, status }]);
  const notified: string[] = [];
  let changes = 0;
  const attachments = new CsiAttachments(NODE, {
    client: new FakeApi(),
    ownNode,
    records: new CsiRecords('/nonexistent', silentLog),
    onInUseChanged: () => void changes++,
    notifyPod: (uid) => void notified.push(uid),
    onLimitReached: () => {},
  });
  return { attachments, notified, changes: () => changes };
}

test('a driver that says that nobody attaches its volumes any more: none of them is in use, and no pod waits', async () => {
  const { attachments, notified, changes } = attachmentsOf();
  for (const driver of ['one', 'other']) attachments.want(volume(driver), 'u');
  const spec = persistentSpec({ metadata: { name: 'pv' }, spec: { csi: { driver: 'one', volumeHandle: 'h' } } }, false);
  await expect(attachments.publishContext(spec, 'u', signal)).rejects.toMatchObject({ step: 'attach' });
  expect(await attachments.volumesInUse()).toEqual([volume('one'), volume('other')]);
  const before = changes();
  attachments.setAttachRequired('one', false);
  expect(await attachments.volumesInUse()).toEqual([volume('other')]);
  expect(changes()).toBe(before + 1);
  expect(notified).toEqual(['u']);
  attachments.setAttachRequired('one', false); // said again
  expect(notified).toEqual(['u']);
  attachments.setAttachRequired('one', true);
  expect(await attachments.volumesInUse()).toEqual([volume('one'), volume('other')]);
});

test('what an earlier agent called in use is so no more when its driver has changed its mind meanwhile', async () => {
  const { attachments } = attachmentsOf({ volumesInUse: [volume('one')] });
  attachments.setAttachRequired('one', false);
  attachments.want(volume('one'), 'u');
  expect(await attachments.volumesInUse()).toEqual([]);
});

test('the end of a pod changes what is in use only when the pod was the last to want some volume', async () => {
  const { attachments, changes } = attachmentsOf();
  for (const podUid of ['u', 'v']) attachments.want(volume('one'), podUid);
  const before = changes();
  for (const podUid of ['other', 'u']) attachments.forgetPod(podUid);
  expect(changes()).toBe(before);
  attachments.forgetPod('v');
  expect(changes()).toBe(before + 1);
  expect(await attachments.volumesInUse()).toEqual([]);
});

test('a volume that is no more in use leaves nothing behind', async () => {
  const { attachments, changes } = attachmentsOf({ volumesInUse: [volume('one')] });
  expect(await attachments.volumesInUse()).toEqual([]);
  const before = changes();
  attachments.volumeReleased(); // that of a driver without attaching
  expect(changes()).toBe(before);
});
