// The configuration that is in effect, as KubeletConfiguration v1beta1: what GET /configz answers
// (cmd/kubelet/app/server.go). Test frameworks decode it, and people copy it into files.

import { printed } from './field.ts';
import { KINDS } from './fields.ts';
import { kubeletFields } from './kubelet-fields.ts';
import type { KubeletSettings } from './rules.ts';

/** `effective`: fields whose value depends on more than the files. */
export function renderConfigz(c: KubeletSettings, effective: Partial<KubeletSettings>): Record<string, unknown> {
  const { apiVersion } = KINDS.KubeletConfiguration;
  return { kind: 'KubeletConfiguration', apiVersion, ...printed(kubeletFields, { ...c, ...effective }) };
}
