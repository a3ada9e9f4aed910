// Kubernetes Events: what a user sees under "Events:" in `kubectl describe`.
import type { ObjectReference } from '../api/kinds.ts';

export type EventType = 'Normal' | 'Warning';

export interface EventRecorder {
  /**
   * Records that `reason` happened to `about`. Never throws and never waits: sending, aggregation and rate limits
   * happen in the background (client-go tools/record).
   */
  event(about: ObjectReference, type: EventType, reason: string, message: string): void;
}
