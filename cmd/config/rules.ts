// Rules between settings (pkg/kubelet/apis/config/validation, pkg/proxy/apis/config/validation): what each value may be
// alone is in the tables.

import { parseQuantity } from '../../api/quantity.ts';
import type { Settled } from './field.ts';
import type { kubeletFields } from './kubelet-fields.ts';
import type { LogFields } from './logging-fields.ts';
import { checkManagers } from './manager-settings.ts';
import type { proxyFields } from './proxy-fields.ts';
import { absolutePath, type Report, shown } from './values.ts';

export type KubeletSettings = Settled<typeof kubeletFields>;
export type ProxyFileSettings = Settled<typeof proxyFields>;

/** Of a pod alone: others would change the whole host. A name, or a prefix that ends in `*`. */
const NAMESPACED_SYSCTL = /^(kernel\.sem|kernel\.(shm|msg)[\w.-]*\*?|fs\.mqueue\.[\w.-]*\*?|net\.[\w.-]*\*?)$/;

type Gates = ReadonlyMap<string, boolean>;

export function checkKubelet(c: KubeletSettings, gates: Gates, report: Report): void {
  if (c.imageGCLowThresholdPercent >= c.imageGCHighThresholdPercent)
    report(
      'imageGCLowThresholdPercent',
      `expected less than imageGCHighThresholdPercent (${c.imageGCHighThresholdPercent}), got ${c.imageGCLowThresholdPercent}`,
    );
  if (c.imageMaximumGCAge > 0 && c.imageMaximumGCAge <= c.imageMinimumGCAge)
    report('imageMaximumGCAge', 'expected more than imageMinimumGCAge');
  if ((c.maxParallelImagePulls ?? 0) > 1 && c.serializeImagePulls === true)
    report('maxParallelImagePulls', 'expected serializeImagePulls: false with more than one parallel pull');
  if (c.systemCgroups !== '' && c.cgroupRoot === '') report('systemCgroups', 'expected cgroupRoot to be set as well');
  if (c.systemCgroups === '/') report('systemCgroups', 'system container cannot be root ("/")');
  if ((c.tlsCertFile ?? '') === '' && (c.tlsPrivateKeyFile ?? '') !== '')
    report('tlsCertFile', 'expected a path, as tlsPrivateKeyFile is set');
  if ((c.tlsCertFile ?? '') !== '' && (c.tlsPrivateKeyFile ?? '') === '')
    report('tlsPrivateKeyFile', 'expected a path, as tlsCertFile is set');
  if (c.nodeLeaseDurationSeconds <= 0) report('nodeLeaseDurationSeconds', 'expected more than 0');
  if (c.cpuCFSQuotaPeriod !== 100 && gates.get('CustomCPUCFSQuotaPeriod') === false)
    report('cpuCFSQuotaPeriod', 'expected 100ms, as the feature gate CustomCPUCFSQuotaPeriod is off');
  if (c.enableSystemLogQuery && !c.enableSystemLogHandler)
    report('enableSystemLogQuery', 'expected enableSystemLogHandler: true as well');
  if (c.serverTLSBootstrap && gates.get('RotateKubeletServerCertificate') === false)
    report('serverTLSBootstrap', 'expected the feature gate RotateKubeletServerCertificate to be on');
  if (c.memoryReservationPolicy === 'TieredReservation' && gates.get('MemoryQoS') !== true)
    report('memoryReservationPolicy', 'expected the feature gate MemoryQoS to be on');
  if (c.crashLoopBackOff.maxContainerRestartPeriod !== undefined && gates.get('KubeletCrashLoopBackOffMax') === false)
    report(
      'crashLoopBackOff.maxContainerRestartPeriod',
      'expected to be left out, as the feature gate KubeletCrashLoopBackOffMax is off',
    );
  if (!/^(1\.35)?$/.test(c.showHiddenMetricsForVersion))
    report('showHiddenMetricsForVersion', 'expected the previous minor release, 1.35, or nothing');
  for (const sysctl of c.allowedUnsafeSysctls ?? [])
    if (!NAMESPACED_SYSCTL.test(sysctl.replaceAll('/', '.')))
      report(
        'allowedUnsafeSysctls',
        `the sysctls ${shown(sysctl)} are not known to be namespaced; expected kernel.sem, kernel.shm*, kernel.msg*, fs.mqueue.* or net.*`,
      );
  checkImageVerification(c, gates, report);
  checkEviction(c, report);
  if (c.reservedSystemCPUs !== '' && (c.systemReservedCgroup !== '' || c.kubeReservedCgroup !== ''))
    report('reservedSystemCPUs', 'expected neither systemReservedCgroup nor kubeReservedCgroup with it');
  if (absolutePath.read(c.podLogsDir, '', () => {}) === undefined)
    report('podLogsDir', `expected ${absolutePath.expected}, got ${shown(c.podLogsDir)}`);
  checkShutdown(c, gates, report);
  checkEnforcement(c, report);
  checkReservedMemory(c, report);
  checkManagers(c, gates, report);
  checkLogging(c.logging, gates, (path, problem) => report(`logging.${path}`, problem));
}

function checkImageVerification(c: KubeletSettings, gates: Gates, report: Report): void {
  const policy = 'imagePullCredentialsVerificationPolicy';
  const allowed = c.preloadedImagesVerificationAllowlist ?? [];
  if (gates.get('KubeletEnsureSecretPulledImages') === false) {
    if (c[policy] !== 'NeverVerifyPreloadedImages')
      report(policy, 'expected to be left out, as the feature gate KubeletEnsureSecretPulledImages is off');
  } else if (allowed.length > 0 && c[policy] !== 'NeverVerifyAllowlistedImages') {
    report('preloadedImagesVerificationAllowlist', `expected ${policy}: NeverVerifyAllowlistedImages`);
  }
  for (const pattern of allowed) {
    if (!/^[a-z0-9][a-z0-9._:/-]*(\/\*)?$/i.test(pattern))
      report(
        'preloadedImagesVerificationAllowlist',
        `expected an image without tag and digest, or a path that ends in /*, got ${shown(pattern)}`,
      );
  }
}

/** Quantities of the signals (pkg/kubelet/eviction/helpers.go ParseThresholdConfig). */
function checkEviction(c: KubeletSettings, report: Report): void {
  for (const field of ['evictionHard', 'evictionSoft'] as const) {
    for (const [signal, amount] of Object.entries(c[field] ?? {})) {
      if (!amount.endsWith('%') && parseQuantity(amount).nanos <= 0n)
        report(field, `eviction threshold ${signal} must be positive: ${amount}`);
    }
  }
  for (const signal of Object.keys(c.evictionSoft ?? {}))
    if (!Object.hasOwn(c.evictionSoftGracePeriod ?? {}, signal))
      report('evictionSoftGracePeriod', `grace period must be specified for the soft eviction threshold ${signal}`);
}

/** Each kind of memory is kept once on each NUMA node. */
function checkReservedMemory(c: KubeletSettings, report: Report): void {
  const seen = new Set<string>();
  for (const { numaNode, limits } of c.reservedMemory ?? []) {
    for (const resource of Object.keys(limits ?? {})) {
      const key = `${resource} of NUMA node ${numaNode ?? 0}`;
      if (seen.has(key)) report('reservedMemory', `expected ${key} once`);
      seen.add(key);
    }
  }
}

/** component-base/logs/api/v1 Validate. */
function checkLogging(c: LogFields, gates: Gates, report: Report): void {
  for (const form of ['text', 'json'] as const) {
    const { splitStream = false, infoBufferSize = '0' } = c.options?.[form] ?? {};
    if (gates.get('LoggingAlphaOptions') === true) continue;
    if (splitStream || infoBufferSize !== '0')
      report(`options.${form}`, 'expected to be left out, as the feature gate LoggingAlphaOptions is off');
  }
}

function checkShutdown(c: KubeletSettings, gates: Gates, report: Report): void {
  if (gates.get('GracefulNodeShutdown') === false && c.shutdownGracePeriod > 0)
    report('shutdownGracePeriod', 'expected to be left out, as the feature gate GracefulNodeShutdown is off');
  const byPriority = c.shutdownGracePeriodByPodPriority ?? [];
  if (gates.get('GracefulNodeShutdownBasedOnPodPriority') === false && byPriority.length > 0)
    report(
      'shutdownGracePeriodByPodPriority',
      'expected to be left out, as the feature gate GracefulNodeShutdownBasedOnPodPriority is off',
    );
  if (c.shutdownGracePeriodCriticalPods > c.shutdownGracePeriod)
    report('shutdownGracePeriodCriticalPods', 'expected at most shutdownGracePeriod');
  if ((c.shutdownGracePeriodByPodPriority ?? []).length > 0 && c.shutdownGracePeriod > 0)
    report('shutdownGracePeriodByPodPriority', 'expected shutdownGracePeriod to be unset with it');
}

function checkEnforcement(c: KubeletSettings, report: Report): void {
  const at = 'enforceNodeAllocatable';
  const wanted = c.enforceNodeAllocatable;
  const has = (word: string): boolean => wanted.some((entry) => entry === word);
  if (new Set(wanted).size !== wanted.length) report(at, 'expected each value once');
  if (has('none') && wanted.length > 1) report(at, 'expected none to stand alone');
  if (!c.cgroupsPerQOS && wanted.some((entry) => entry !== 'none'))
    report(at, 'expected [none], as cgroupsPerQOS is false');
  for (const [kind, cgroup, name] of [
    ['system-reserved', c.systemReservedCgroup, 'systemReservedCgroup'],
    ['kube-reserved', c.kubeReservedCgroup, 'kubeReservedCgroup'],
  ] as const) {
    if (has(kind) && has(`${kind}-compressible`)) report(at, `expected either ${kind} or ${kind}-compressible`);
    if ((has(kind) || has(`${kind}-compressible`)) && cgroup === '')
      report(at, `expected ${name} to be set for ${kind}`);
  }
}

export function checkProxy(c: ProxyFileSettings, report: Report): void {
  const section = c.mode === 'nftables' ? 'nftables' : 'iptables';
  if (c[section].minSyncPeriod > c[section].syncPeriod)
    report(`${section}.minSyncPeriod`, `expected at most ${section}.syncPeriod`);
  if (c.nodePortAddresses.includes('primary') && c.nodePortAddresses.length > 1)
    report('nodePortAddresses', 'expected primary to stand alone');
  if (c.configSyncPeriod <= 0) report('configSyncPeriod', 'expected more than 0');
  if (c[section].syncPeriod <= 0) report(`${section}.syncPeriod`, 'expected more than 0');
  for (const name of [c.detectLocal.bridgeInterface, c.detectLocal.interfaceNamePrefix]) {
    // It becomes part of a rule's text.
    if (name !== '' && !/^[\w.@:-]{1,15}$/.test(name))
      report('detectLocal', `expected the name of a network interface, got ${shown(name)}`);
  }
  if (c.detectLocalMode === 'BridgeInterface' && c.detectLocal.bridgeInterface === '')
    report('detectLocal.bridgeInterface', 'expected a name, as detectLocalMode is BridgeInterface');
  if (c.detectLocalMode === 'InterfaceNamePrefix' && c.detectLocal.interfaceNamePrefix === '')
    report('detectLocal.interfaceNamePrefix', 'expected a prefix, as detectLocalMode is InterfaceNamePrefix');
}
