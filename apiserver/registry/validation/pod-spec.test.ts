import { expect, test } from 'vitest';
import type { Container, PodSpec } from '../../../api/pod.ts';
import { defaultPod } from '../defaults/pod.ts';
import { podSpecFaults } from './pod-spec.ts';

function faultsOf(spec: Partial<PodSpec>, container: object = {}): string[] {
  const whole = {
    volumes: [{ name: 'v', emptyDir: {} }],
    containers: [{ name: 'c', image: 'busybox', ...container } as Container],
    ...structuredClone(spec),
  };
  defaultPod(whole);
  return podSpecFaults(whole, 'spec').map((f) => `${f.field}: ${f.message}`);
}
const mount = (more: object) => ({ volumeMounts: [{ name: 'v', mountPath: '/v', ...more }] });
const C = 'spec.containers[0]';
const ID = 'must be between 0 and 2147483647, inclusive';

test.each<[string, object, string | undefined]>([
  [
    'all that is fine',
    { lifecycle: { preStop: { sleep: { seconds: 5 } } }, securityContext: { runAsUser: 0 } },
    undefined,
  ],
  [
    'a hook that does nothing',
    { lifecycle: { preStop: {} } },
    `${C}.lifecycle.preStop: Required value: must specify a handler type`,
  ],
  [
    'a hook that does two things',
    { lifecycle: { postStart: { exec: { command: ['a'] }, sleep: { seconds: 1 } } } },
    `${C}.lifecycle.postStart.sleep: Forbidden: may not specify more than 1 handler type`,
  ],
  [
    'a sleep beyond the grace',
    { lifecycle: { preStop: { sleep: { seconds: 31 } } } },
    `${C}.lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)`,
  ],
  [
    'a grace of its own for readiness',
    { readinessProbe: { tcpSocket: { port: 80 }, terminationGracePeriodSeconds: 5 } },
    `${C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes`,
  ],
  [
    'a liveness probe that must succeed twice',
    { livenessProbe: { grpc: { port: 80 }, successThreshold: 2 } },
    `${C}.livenessProbe.successThreshold: Invalid value: 2: must be 1`,
  ],
  [
    'a header that is none',
    { livenessProbe: { httpGet: { port: 80, httpHeaders: [{ name: 'a b', value: '' }] } } },
    `${C}.livenessProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of`,
  ],
  [
    'a negative user',
    { securityContext: { runAsUser: -1 } },
    `${C}.securityContext.runAsUser: Invalid value: -1: ${ID}`,
  ],
  [
    'privileged without escalation',
    { securityContext: { privileged: true, allowPrivilegeEscalation: false } },
    'cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
  ],
  [
    'a profile elsewhere',
    { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: '../p' } } },
    `${C}.securityContext.seccompProfile.localhostProfile: Invalid value: "../p": must not contain '..'`,
  ],
  [
    'a profile without a name',
    { securityContext: { seccompProfile: { type: 'Localhost' } } },
    `${C}.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost`,
  ],
  [
    'another procMount',
    { securityContext: { procMount: 'Half' } },
    `${C}.securityContext.procMount: Unsupported value: "Half": supported values: "Default", "Unmasked"`,
  ],
  [
    'a mount with a colon',
    mount({ mountPath: '/a:b' }),
    `${C}.volumeMounts[0].mountPath: Invalid value: "/a:b": must not contain ':'`,
  ],
  [
    'a subPath upwards',
    mount({ subPath: 'a/../..' }),
    `${C}.volumeMounts[0].subPath: Invalid value: "a/../..": must not contain '..'`,
  ],
  [
    'mounts for the host without privileges',
    mount({ mountPropagation: 'Bidirectional' }),
    `${C}.volumeMounts[0].mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`,
  ],
  [
    'recursively read-only, but writable',
    mount({ recursiveReadOnly: 'Enabled' }),
    `${C}.volumeMounts[0].recursiveReadOnly: Forbidden: may only be specified when readOnly is true`,
  ],
  [
    'restart rules without a policy',
    { restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [1] } }] },
    `${C}.restartPolicy: Required value: must specify restartPolicy when restart rules are used`,
  ],
  [
    'a restart rule for nothing',
    { restartPolicy: 'Never', restartPolicyRules: [{ action: 'Restart' }] },
    `${C}.restartPolicyRules[0].exitCodes: Required value: must be specified`,
  ],
])('a container with %s', (_name, container, fault) => {
  const faults = faultsOf({}, container);
  if (fault === undefined) expect(faults).toEqual([]);
  else expect(faults).toEqual([expect.stringContaining(fault)]);
});

const nodeTerm = (expression: object) =>
  ({
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [expression] }] },
      },
    },
  }) as Partial<PodSpec>;
const HARD = 'requiredDuringSchedulingIgnoredDuringExecution';
const projected = (path: string) =>
  ({
    volumes: [{ name: 'v', projected: { sources: [{ configMap: { name: 'c', items: [{ key: 'k', path }] } }] } }],
  }) as Partial<PodSpec>;

test.each<[string, Partial<PodSpec>, string]>([
  [
    'an operator that is none',
    nodeTerm({ key: 'a', operator: 'Near' }),
    `spec.affinity.nodeAffinity.${HARD}.nodeSelectorTerms[0].matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator`,
  ],
  [
    'nothing to choose from',
    nodeTerm({ key: 'a', operator: 'In' }),
    `.matchExpressions[0].values: Required value: must be specified when \`operator\` is 'In' or 'NotIn'`,
  ],
  [
    'a neighbour without a place',
    { affinity: { podAffinity: { [HARD]: [{ topologyKey: '' }] } } },
    `spec.affinity.podAffinity.${HARD}[0].topologyKey: Required value: can not be empty`,
  ],
  [
    'too much weight',
    {
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 101, podAffinityTerm: { topologyKey: 'a' } }],
        },
      },
    },
    'spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100',
  ],
  [
    'one parameter twice',
    {
      securityContext: {
        sysctls: [
          { name: 'net.a', value: '1' },
          { name: 'net/a', value: '2' },
        ],
      },
    },
    'spec.securityContext.sysctls[1].name: Duplicate value: "net/a"',
  ],
  [
    'a kernel parameter that ends with a dash',
    { securityContext: { sysctls: [{ name: 'foo-', value: '1' }] } },
    'spec.securityContext.sysctls[0].name: Invalid value: "foo-": must have at most 253 characters and match regex',
  ],
  [
    'a parameter with blanks',
    { securityContext: { sysctls: [{ name: 'a b', value: '1' }] } },
    'spec.securityContext.sysctls[0].name: Invalid value: "a b": must have at most 253 characters and match regex',
  ],
  [
    'a group that is none',
    { securityContext: { supplementalGroups: [1, -1] } },
    `spec.securityContext.supplementalGroups[1]: Invalid value: -1: ${ID}`,
  ],
  [
    'a file outside of its volume',
    projected('../a'),
    `spec.volumes[0].projected.sources[0].configMap.items[0].path: Invalid value: "../a": must not contain '..'`,
  ],
  ['a file at the root', projected('/a'), 'items[0].path: Invalid value: "/a": must be a relative path'],
  [
    "the host's network for its own users",
    { hostUsers: false, hostNetwork: true },
    'spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false',
  ],
])('a pod with %s', (_name, spec, fault) => {
  expect(faultsOf(spec)).toEqual([expect.stringContaining(fault)]);
});
