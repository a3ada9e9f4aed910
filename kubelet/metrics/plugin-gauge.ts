// Which plugins there should be and there are (pkg/kubelet/pluginmanager/metrics/metrics.go).
import { Gauge, type Registry } from '../../core/metrics.ts';
import type { PluginManager } from '../plugins/plugin-manager.ts';

export function registerPluginGauge(registry: Registry, manager: Pick<PluginManager, 'states'>): void {
  const gauge: Gauge<'socket_path' | 'state'> = new Gauge({
    name: 'plugin_manager_total_plugins',
    help: 'Plugins by socket: those whose socket is there, and those registered',
    labelNames: ['socket_path', 'state'],
    registers: [registry],
    collect: () => {
      const { desired, actual } = manager.states();
      gauge.reset();
      for (const socket_path of desired) gauge.set({ socket_path, state: 'desired_state_of_world' }, 1);
      for (const socket_path of actual) gauge.set({ socket_path, state: 'actual_state_of_world' }, 1);
    },
  });
}
