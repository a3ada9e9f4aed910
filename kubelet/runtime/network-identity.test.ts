// Hostname, /etc/hosts and DNS of a pod.
import { describe, expect, test } from 'vitest';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { type DnsSettings, parseResolvConf, podDns, resolvConfFault } from './dns.ts';
import { renderEtcHosts, renderHostNetworkEtcHosts } from './etc-hosts.ts';
import { podHostname } from './hostname.ts';

const podOf = (spec: Partial<PodSpec>, name = 'web-0'): Pod => ({
  metadata: { name, namespace: 'ns', uid: 'u' },
  spec: { containers: [], ...spec },
});

describe('hostname', () => {
  const fqdn = 'web-0.sub.ns.svc.cluster.local';
  test.each<[string, Pod, object]>([
    ["the pod's name", podOf({}), { hostname: 'web-0', domain: '', kernelHostname: 'web-0' }],
    ['spec.hostname', podOf({ hostname: 'h' }), { hostname: 'h' }],
    [
      'with a subdomain',
      podOf({ subdomain: 'sub' }),
      { hostname: 'web-0', domain: 'sub.ns.svc.cluster.local', kernelHostname: 'web-0' },
    ],
    ['as FQDN', podOf({ subdomain: 'sub', setHostnameAsFQDN: true }), { kernelHostname: fqdn }],
    ['as FQDN without a domain', podOf({ setHostnameAsFQDN: true }), { kernelHostname: 'web-0' }],
    ['override', podOf({ hostnameOverride: 'a.b', subdomain: 'sub' }), { hostname: 'a.b', domain: '' }],
    ['a long name is cut', podOf({}, `${'a'.repeat(62)}-bc`), { hostname: 'a'.repeat(62) }],
  ])('%s', (_, pod, want) => {
    expect(podHostname(pod, 'cluster.local')).toMatchObject(want);
  });

  test('an FQDN that the kernel cannot hold', () => {
    const pod = podOf({ subdomain: 's'.repeat(40), setHostnameAsFQDN: true });
    expect(() => podHostname(pod, 'cluster.local')).toThrow(
      /is too long \(64 characters is the max, 67 characters requested\)$/,
    );
  });

  test('a hostname that is none', () => {
    expect(() => podHostname(podOf({ hostname: 'Not_Valid' }), 'cluster.local')).toThrow('Not_Valid');
  });
});

describe('/etc/hosts', () => {
  const head = [
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'fe00::0\tip6-mcastprefix',
    'fe00::1\tip6-allnodes',
    'fe00::2\tip6-allrouters',
    '',
  ].join('\n');

  test('one line per address, with the domain before the name', () => {
    const pod = podOf({ subdomain: 'sub' });
    expect(renderEtcHosts(pod, ['10.0.0.1', 'fd00::1'], podHostname(pod, 'c.l'))).toBe(
      `${head}10.0.0.1\tweb-0.sub.ns.svc.c.l\tweb-0\nfd00::1\tweb-0.sub.ns.svc.c.l\tweb-0\n`,
    );
  });

  test('aliases follow', () => {
    const pod = podOf({ hostAliases: [{ ip: '1.2.3.4', hostnames: ['a', 'b'] }] });
    expect(renderEtcHosts(pod, ['10.0.0.1'], podHostname(pod, 'c.l'))).toBe(
      `${head}10.0.0.1\tweb-0\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n`,
    );
  });

  test("on the host's network", () => {
    expect(renderHostNetworkEtcHosts(podOf({}), '127.0.0.1 localhost\n')).toBe(
      '# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n',
    );
  });
});

describe('DNS', () => {
  const settings: DnsSettings = {
    clusterDns: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    host: { servers: ['1.1.1.1'], searches: ['corp.example'], options: ['timeout:1'] },
    nodeIps: ['192.168.0.1'],
  };
  const cluster = {
    servers: ['10.96.0.10'],
    searches: ['ns.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example'],
    options: ['ndots:5'],
  };
  test.each<[string, Partial<PodSpec>, Partial<DnsSettings>, object]>([
    ['ClusterFirst', { dnsPolicy: 'ClusterFirst' }, {}, cluster],
    ['not said', {}, {}, cluster],
    ['ClusterFirst on the host network', { hostNetwork: true }, {}, settings.host!],
    ['ClusterFirstWithHostNet', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }, {}, cluster],
    ['Default', { dnsPolicy: 'Default' }, {}, settings.host!],
    [
      'None',
      { dnsPolicy: 'None', dnsConfig: { nameservers: ['8.8.8.8'] } },
      {},
      { servers: ['8.8.8.8'], searches: [], options: [] },
    ],
    ['no cluster domain', {}, { clusterDomain: '' }, { servers: ['10.96.0.10'], searches: ['corp.example'] }],
    ['no resolv.conf', { dnsPolicy: 'Default' }, { host: undefined }, { servers: ['127.0.0.1'], searches: ['.'] }],
    [
      "the pod's own is merged",
      {
        dnsConfig: {
          nameservers: ['10.96.0.10', '9.9.9.9'],
          searches: ['x'],
          options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }],
        },
      },
      {},
      { servers: ['10.96.0.10', '9.9.9.9'], searches: [...cluster.searches, 'x'], options: ['ndots:2', 'edns0'] },
    ],
  ])('%s', (_, spec, more, want) => {
    const got = podDns(podOf(spec), { ...settings, ...more });
    expect(got.config).toMatchObject(want);
    expect(got.warnings).toEqual([]);
  });

  test("no cluster DNS: the host's, with a warning", () => {
    const got = podDns(podOf({}), { ...settings, clusterDns: [] });
    expect(got.config).toEqual(settings.host);
    expect(got.warnings).toEqual([
      {
        reason: 'MissingClusterDNS',
        message: expect.stringMatching(/^pod: "web-0_ns\(u\)"\. kubelet does not have ClusterDNS IP configured/),
      },
    ]);
  });

  test('too many of both', () => {
    const dnsConfig = {
      nameservers: ['2.2.2.2', '3.3.3.3', '4.4.4.4'],
      searches: Array.from({ length: 40 }, (_, i) => `s${i}`),
    };
    const got = podDns(podOf({ dnsConfig }), settings);
    expect(got.config.servers).toEqual(['10.96.0.10', '2.2.2.2', '3.3.3.3']);
    expect(got.config.searches).toHaveLength(32);
    expect(got.warnings.map((w) => w.reason)).toEqual(['DNSConfigForming', 'DNSConfigForming']);
    expect(got.warnings[0]?.message).toContain('the applied nameserver line is: 10.96.0.10 2.2.2.2 3.3.3.3');
  });

  test('the fallback is named alike for every policy that asks for the cluster', () => {
    const got = podDns(podOf({ hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }), {
      ...settings,
      clusterDns: [],
    });
    expect(got.warnings[0]?.message).toContain('cannot create Pod using "ClusterFirst" policy');
  });

  test.each<[number, string, string | undefined]>([
    [29, 'cluster.local', undefined],
    [30, 'cluster.local', "Resolv.conf file '/r' contains search line consisting of more than 29 domains!"],
    [32, '', undefined],
    [33, '', "Resolv.conf file '/r' contains search line consisting of more than 32 domains!"],
  ])('%i searches of the node with the domain %j', (count, domain, want) => {
    const searches = Array.from({ length: count }, (_, i) => `s${i}`);
    expect(resolvConfFault('/r', { servers: [], searches, options: [] }, domain)).toBe(want);
  });

  test('searches of the node that are too long together', () => {
    const searches = Array.from({ length: 10 }, (_, i) => `${i}`.repeat(210));
    expect(resolvConfFault('/r', { servers: [], searches, options: [] }, '')).toContain(
      'more than allowed 2048 chars!',
    );
  });

  test('resolv.conf', () => {
    const text = '# c\nnameserver 1.1.1.1\nsearch old\nsearch a.b. . c\noptions ndots:1 rotate\noptions ndots:3\n';
    expect(parseResolvConf(text)).toEqual({
      servers: ['1.1.1.1'],
      searches: ['a.b', 'c'],
      options: ['ndots:3', 'rotate'],
    });
    expect(() => parseResolvConf('nameserver\n')).toThrow('nameserver list is empty');
  });
});
