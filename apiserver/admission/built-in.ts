// The admission plugins every server runs, in upstream's order (pkg/kubeapiserver/options/plugins.go).
import type { Clock } from '../../core/clock.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { defaultTolerationSeconds } from './default-toleration-seconds.ts';
import { limitRanger } from './limit-ranger.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { nodeTaint } from './node-taint.ts';
import { podResize } from './pod-resize.ts';
import { podTopologyLabels } from './pod-topology-labels.ts';
import { priority } from './priority.ts';
import { runtimeClass } from './runtime-class.ts';
import { serviceAccount } from './service-account.ts';

export function builtInAdmission(reader: ObjectReader, clock: Clock): AdmissionPlugin[] {
  return [
    namespaceLifecycle(reader),
    limitRanger(reader),
    serviceAccount(reader, clock),
    nodeTaint,
    priority(reader),
    defaultTolerationSeconds,
    runtimeClass(reader),
    podTopologyLabels(reader),
    podResize(reader),
  ];
}
