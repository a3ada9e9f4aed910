// What stands where the API client would on a node that runs by itself: every call fails at once and says why.
import type { KubeList, WatchEvent } from '../api/meta.ts';
import { AgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { ApiClient } from './api-client.ts';
import type { EventRecorder } from './event-recorder.ts';

function noServer(): AgentError {
  return new AgentError('this node has no API server', {
    code: 'NO_API_SERVER',
    hint: 'name its kubeconfig with --kubeconfig; without one only static pods are run',
  });
}

export class NoApi implements ApiClient {
  async get(): Promise<never> {
    throw noServer();
  }

  async list<T>(): Promise<KubeList<T>> {
    throw noServer();
  }

  async create(): Promise<never> {
    throw noServer();
  }

  async update(): Promise<never> {
    throw noServer();
  }

  async patch(): Promise<never> {
    throw noServer();
  }

  async delete(): Promise<void> {
    throw noServer();
  }

  // biome-ignore lint/correctness/useYield: it fails before there could be an event
  async *watch<T>(): AsyncIterable<WatchEvent<T>> {
    throw noServer();
  }

  closeIdleConnections(): void {}
}

/** Events of a node without an API server go where its owner looks: into the log. */
export function logRecorder(log: Logger): EventRecorder {
  const events = log.child({ component: 'events' });
  return {
    event(about, type, reason, message) {
      const context = { kind: about.kind, name: about.name, namespace: about.namespace, reason };
      if (type === 'Warning') events.warn(context, message);
      else events.info(context, message);
    },
  };
}
