// The node's HTTPS server in a process of its own, started as the agent is, so that its memory and descriptors can be
// looked at. One pod, `default/web`; its log and the runtime's streaming server are the test's.
import { createCa, createSelfSignedServingCert, issueClientCert } from '../../api/pki.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { exited, fakeContainer } from '../../kubelet/runtime/fake-pod-status.ts';
import { FakeServedPods } from '../../kubelet/server/fake-served-pods.ts';
import { KubeletServer } from '../../kubelet/server/server.ts';

const [logPath = '', streamUrl = ''] = process.argv.slice(2);
const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const ca = createCa('ca', validity);
const admin = issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, validity);
const pods = new FakeServedPods();
const session = async () => streamUrl;
const server = new KubeletServer(
  {
    nodeName: 'node-1',
    address: '127.0.0.1',
    port: 0,
    healthzAddress: '',
    healthzPort: 0,
    certificate: createSelfSignedServingCert('node-1', {}, validity),
    clientCa: ca.cert,
    anonymous: false,
  },
  {
    pods,
    runtime: {
      exec: session,
      attach: session,
      portForward: session,
      execSync: async () => ({ stdout: new Uint8Array(), stderr: new Uint8Array(), exitCode: 0 }),
      containerStatus: async (id) => ({ ...fakeContainer({ name: 'main', id }).cri, logPath }),
    },
    metrics: new Registry(),
    clock: systemClock,
    log: silentLog,
  },
);
const stop = new AbortController();
process.on('disconnect', () => stop.abort()); // the test is gone
process.on('message', (message) => {
  if (message !== 'end the container') return;
  pods.containers = [exited('main', 0)];
  pods.changed();
});
await server.listen();
process.send!({ port: server.port, cert: admin.cert, key: admin.key });
await server.run(stop.signal);
