// The kubelet's HTTPS server beside its managers.
import type { Task } from '../../core/tasks.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import type { AgentContext } from './shared.ts';

export function createServer(_ctx: AgentContext, _parts: { kubelet: Kubelet; runtime: RuntimeService }): Record<string, Task> {
  return {};
}
