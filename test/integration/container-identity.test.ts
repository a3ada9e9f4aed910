// Who a container is told it is: environment, host name, /etc/hosts, resolv.conf, command and arguments; read inside, in
// real containerd.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Service } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { containerdMissing } from '../harness/containerd.ts';
import { NODE_IP, RuntimePods } from '../harness/runtime-pods.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`container tests are skipped: ${missing}`);

const base64 = (text: string) => Buffer.from(text).toString('base64');
const service = (namespace: string, name: string, clusterIP: string): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace, name },
  spec: { clusterIP, ports: [{ name: 'https', port: 443, protocol: 'TCP' }] },
});

describe.skipIf(missing !== undefined)('what a container is told', () => {
  let pods: RuntimePods;
  beforeAll(async () => {
    pods = await RuntimePods.start({
      services: [service('default', 'kubernetes', '10.96.0.1'), service('ns', 'my-web', '10.96.0.9')],
      configMaps: [
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'ns', name: 'cm' }, data: { COLOR: 'ä blue' } },
      ],
      secrets: [{ metadata: { namespace: 'ns', name: 's' }, data: { TOKEN: base64('t=1') } }],
    });
  });
  afterAll(async () => {
    await pods?.[Symbol.asyncDispose]();
  });

  const envOf = async (container: Parameters<RuntimePods['run']>[0], spec: Partial<PodSpec> = {}, meta = {}) => {
    const text = await pods.run({ script: 'env', ...container }, spec, meta);
    return Object.fromEntries(
      text.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  };

  describe('environment', () => {
    test('literals, references and expansion, in order', async () => {
      const env = await envOf({
        envFrom: [{ prefix: 'P_', configMapRef: { name: 'cm' } }, { secretRef: { name: 's' } }],
        env: [
          { name: 'A', value: '$(P_COLOR)/$(TOKEN)/$(LATER)/$$(A)' },
          { name: 'LATER', value: 'x' },
          { name: 'URL', value: 'https://$(KUBERNETES_SERVICE_HOST)' },
          { name: 'B', valueFrom: { secretKeyRef: { name: 's', key: 'TOKEN' } } },
          { name: 'NOTHING', value: '' },
        ],
      });
      expect(env).toMatchObject({
        P_COLOR: 'ä blue',
        TOKEN: 't=1',
        A: 'ä blue/t=1/$(LATER)/$(A)',
        URL: 'https://10.96.0.1',
        B: 't=1',
        NOTHING: '',
      });
    });

    test('Services of the namespace, without links only the API server', async () => {
      const linked = await envOf({});
      expect(linked).toMatchObject({
        KUBERNETES_SERVICE_HOST: '10.96.0.1',
        MY_WEB_SERVICE_HOST: '10.96.0.9',
        MY_WEB_SERVICE_PORT_HTTPS: '443',
        MY_WEB_PORT: 'tcp://10.96.0.9:443',
        MY_WEB_PORT_443_TCP_ADDR: '10.96.0.9',
      });
      const alone = await envOf({}, { enableServiceLinks: false });
      expect(alone.KUBERNETES_SERVICE_PORT).toBe('443');
      expect(Object.keys(alone).filter((k) => k.startsWith('MY_WEB'))).toEqual([]);
    });

    test('the downward API: fields and resources', async () => {
      const field = (fieldPath: string) => ({ valueFrom: { fieldRef: { fieldPath } } });
      const amount = (resource: string, divisor = '1') => ({ valueFrom: { resourceFieldRef: { resource, divisor } } });
      const env = await envOf(
        {
          resources: { requests: { cpu: '250m', memory: '32Mi' }, limits: { memory: '64Mi' } },
          env: [
            { name: 'NAME', ...field('metadata.name') },
            { name: 'UID_', ...field('metadata.uid') },
            { name: 'LABEL', ...field("metadata.labels['app']") },
            { name: 'NODE', ...field('spec.nodeName') },
            { name: 'IP', ...field('status.podIP') },
            { name: 'HOST', ...field('status.hostIP') },
            { name: 'HOSTS', ...field('status.hostIPs') },
            { name: 'CPU_REQUEST', ...amount('requests.cpu', '1m') },
            { name: 'CPU_LIMIT', ...amount('limits.cpu') },
            { name: 'MEMORY_LIMIT', ...amount('limits.memory', '1Mi') },
            { name: 'DISK_REQUEST', ...amount('requests.ephemeral-storage') },
          ],
        },
        { nodeName: 'node' },
        { labels: { app: 'web' } },
      );
      expect(env).toMatchObject({
        LABEL: 'web',
        NODE: 'node',
        HOST: NODE_IP,
        HOSTS: NODE_IP,
        CPU_REQUEST: '250',
        CPU_LIMIT: '2', // not limited: the node's
        MEMORY_LIMIT: '64',
        DISK_REQUEST: '0',
      });
      expect(env.UID_).toBe(`uid-${env.NAME}`);
      expect(env.IP).toMatch(/^10\.99\.\d+\.\d+$/);
      const onHost = await envOf({ env: [{ name: 'IP', ...field('status.podIP') }] }, { hostNetwork: true });
      expect(onHost.IP).toBe(NODE_IP);
    });

    test('a file that an init container left', async () => {
      const volumes = [{ name: 'v', emptyDir: {} }];
      const fileKeyRef = { volumeName: 'v', path: 'out/env', key: 'FOUND' };
      const pod = pods.pod(
        { script: 'echo "$A"', env: [{ name: 'A', valueFrom: { fileKeyRef } } as object as { name: string }] },
        { volumes },
      );
      const init = pods.pod({
        name: 'i',
        script: `mkdir /v/out && echo "FOUND='by init'" > /v/out/env`,
        volumeMounts: [{ name: 'v', mountPath: '/v' }],
      }).spec!.containers;
      const both: Pod = { ...pod, spec: { ...pod.spec!, initContainers: init } };
      await pods.start(both);
      await pods.ended(both, 'i');
      await pods.start(both);
      await pods.ended(both);
      expect(await pods.log(both)).toBe('by init');
    });

    test.each([
      [{ envFrom: [{ configMapRef: { name: 'none' } }] }, 'configmap "none" not found'],
      [
        { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'none' } } }] },
        "couldn't find key none in Secret ns/s",
      ],
    ])('%j is missing', async (container, message) => {
      expect(await pods.refusal({ script: 'true', ...container })).toBe(`CreateContainerConfigError: ${message}`);
    });
  });

  describe('command', () => {
    test('command and arguments replace the image and are expanded', async () => {
      const env = [{ name: 'A', value: 'one' }];
      expect(await pods.run({ env, command: ['echo', '$(A)'], args: ['$(NONE)', '$$(A)'] })).toBe('one $(NONE) $(A)');
      expect(await pods.run({ script: 'pwd', workingDir: '/tmp' })).toBe('/tmp');
      // The image's own command is a shell without input: it ends at once.
      expect(await pods.run({})).toBe('');
    });
  });

  describe('host name', () => {
    test.each<[string, Partial<PodSpec>, RegExp]>([
      ["the pod's name", {}, /^p\d+\np\d+$/],
      ['hostname and subdomain', { hostname: 'web', subdomain: 'sub' }, /^web\nweb\.sub\.ns\.svc\.cluster\.local$/],
      [
        'the whole name in the kernel',
        { hostname: 'web', subdomain: 'sub', setHostnameAsFQDN: true },
        /^web\.sub\.ns\.svc\.cluster\.local\n/,
      ],
      ['an override', { hostnameOverride: 'my.own.name', subdomain: 'sub' }, /^my\.own\.name\nmy\.own\.name$/],
    ])('%s', async (_, spec, want) => {
      expect(await pods.run({ script: 'hostname; hostname -f' }, spec)).toMatch(want);
    });

    test('one that is too long keeps the pod from starting', async () => {
      const spec = { subdomain: 's'.repeat(60), setHostnameAsFQDN: true };
      expect(await pods.refusal({ script: 'true' }, spec)).toMatch(
        /^Failed to create pod sandbox: .*is too long \(64 characters is the max, \d+ characters requested\)$/,
      );
    });
  });

  describe('/etc/hosts', () => {
    test('is written for the pod, with aliases, and may be written by it', async () => {
      const text = await pods.run(
        { script: 'cat /etc/hosts && echo 1.2.3.4 mine >> /etc/hosts && tail -n 1 /etc/hosts' },
        { hostname: 'web', hostAliases: [{ ip: '192.0.2.1', hostnames: ['foo', 'bar'] }] },
      );
      expect(text).toMatch(/^# Kubernetes-managed hosts file\.\n127\.0\.0\.1\tlocalhost\n/);
      expect(text).toMatch(
        /\n10\.99\.\d+\.\d+\tweb\n\n# Entries added by HostAliases\.\n192\.0\.2\.1\tfoo\tbar\n1\.2\.3\.4 mine$/,
      );
    });

    test("on the host's network it is the node's, with a heading", async () => {
      expect(await pods.run({ script: 'cat /etc/hosts' }, { hostNetwork: true })).toBe(
        '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n192.0.2.7 of-the-node',
      );
    });

    test("a container's own mount there is left alone", async () => {
      const volumes = [{ name: 'v', configMap: { name: 'cm' } }];
      const volumeMounts = [{ name: 'v', mountPath: '/etc/hosts', subPath: 'COLOR' }];
      expect(await pods.run({ script: 'cat /etc/hosts', volumeMounts }, { volumes })).toBe('ä blue');
    });
  });

  test('a host port leads to the container', async () => {
    const ports = [{ containerPort: 8080, hostPort: 18_080 }];
    const script = 'mkdir /www && echo here > /www/index.html && httpd -p 8080 -h /www && touch /up; exec sleep 1000';
    const pod = pods.pod({ script, ports });
    await pods.start(pod);
    await pods.exec(pod, ['sh', '-c', 'until [ -e /up ]; do :; done']);
    expect(await pods.onNode('busybox', 'wget', '-q', '-O', '-', `http://${NODE_IP}:18080/`)).toBe('here\n');
  });

  describe('resolv.conf', () => {
    const cluster =
      'search ns.svc.cluster.local svc.cluster.local cluster.local node.example\nnameserver 10.96.0.10\noptions ndots:5';
    const node = 'search node.example\nnameserver 192.0.2.53\noptions timeout:1';
    test.each<[string, Partial<PodSpec>, string]>([
      ['ClusterFirst', { dnsPolicy: 'ClusterFirst' }, cluster],
      ['Default', { dnsPolicy: 'Default' }, node],
      ["ClusterFirst on the host's network", { dnsPolicy: 'ClusterFirst', hostNetwork: true }, node],
      ['ClusterFirstWithHostNet', { dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true }, cluster],
      [
        'None with a configuration',
        {
          dnsPolicy: 'None',
          dnsConfig: { nameservers: ['192.0.2.1'], searches: ['a.b'], options: [{ name: 'ndots', value: '2' }] },
        },
        'search a.b\nnameserver 192.0.2.1\noptions ndots:2',
      ],
    ])('%s', async (_, spec, want) => {
      expect(await pods.run({ script: 'cat /etc/resolv.conf' }, spec)).toBe(want);
    });

    test('too many servers: the first three, and an Event', async () => {
      const dnsConfig = { nameservers: ['192.0.2.1', '192.0.2.2', '192.0.2.3'] };
      const text = await pods.run({ script: 'grep -c nameserver /etc/resolv.conf' }, { dnsConfig });
      expect(text).toBe('3');
      expect(pods.events).toContain(
        'Warning DNSConfigForming Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2',
      );
    });
  });
});
