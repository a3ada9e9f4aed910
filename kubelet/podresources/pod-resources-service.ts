// The podresources API: who asks for what, how often, and what is counted of it. What is told is decided by
// pod-resources.ts. After pkg/kubelet/apis/podresources.
import type { Pod } from '../../api/pod.ts';
import { TokenBucket } from '../../client/token-bucket.ts';
import type { Clock } from '../../core/clock.ts';
import { Counter, type Registry } from '../../core/metrics.ts';
import type {
  AllocatableResourcesResponse,
  GetPodResourcesRequest,
  GetPodResourcesResponse,
  ListPodResourcesResponse,
} from '../../cri/gen/messages.ts';
import { methodOf } from '../../cri/rpc.ts';
import type { ServedMethod } from '../plugins/grpc-server.ts';
import { GrpcStatusError } from '../plugins/server-call.ts';
import { allocatableResources, podDevices, podResources, type ResourceReports } from './pod-resources.ts';

/** Of all calls together; no more has been found to be of use to anybody. */
const CALLS = { qps: 100, burst: 10 };

export interface PodResourcesDeps {
  /** Pods that hold resources here. */
  readonly activePods: () => readonly Pod[];
  /** All pods of the node, those that are over as well. */
  readonly allPods: () => readonly Pod[];
  readonly podByName: (namespace: string, name: string) => Pod | undefined;
  readonly reports: ResourceReports;
  readonly registry: Registry;
  readonly clock: Clock;
}

type CounterName = 'total' | 'list' | 'get' | 'allocatable' | 'getErrors';

export class PodResourcesService {
  readonly #deps: PodResourcesDeps;
  readonly #limit: TokenBucket;
  readonly #counters: Readonly<Record<CounterName, Counter<'server_api_version'>>>;

  constructor(deps: PodResourcesDeps) {
    this.#deps = deps;
    this.#limit = new TokenBucket(CALLS, deps);
    const counter = (name: string, help: string) =>
      new Counter({ name, help, labelNames: ['server_api_version'] as const, registers: [deps.registry] });
    this.#counters = {
      total: counter('kubelet_pod_resources_endpoint_requests_total', 'Calls of the podresources API'),
      list: counter('kubelet_pod_resources_endpoint_requests_list', 'Calls of List of the podresources API'),
      get: counter('kubelet_pod_resources_endpoint_requests_get', 'Calls of Get of the podresources API'),
      allocatable: counter(
        'kubelet_pod_resources_endpoint_requests_get_allocatable',
        'Calls of GetAllocatableResources of the podresources API',
      ),
      getErrors: counter(
        'kubelet_pod_resources_endpoint_errors_get',
        'Calls of Get of the podresources API that failed',
      ),
    };
  }

  /** What a gRPC server is to answer with it. */
  methods(): ServedMethod[] {
    const [v1, v1alpha1] = ['v1.PodResourcesLister', 'v1alpha1.PodResourcesLister'];
    const list = ['ListPodResourcesRequest', 'ListPodResourcesResponse'] as const;
    const allocatable = ['AllocatableResourcesRequest', 'AllocatableResourcesResponse'] as const;
    return [
      { ...methodOf(v1, 'List', ...list), answer: this.#limited(() => this.list()) },
      { ...methodOf(v1, 'GetAllocatableResources', ...allocatable), answer: this.#limited(() => this.allocatable()) },
      {
        ...methodOf(v1, 'Get', 'GetPodResourcesRequest', 'GetPodResourcesResponse'),
        answer: this.#limited((request: GetPodResourcesRequest) => this.get(request)),
      },
      { ...methodOf(v1alpha1, 'List', ...list), answer: this.#limited(() => this.listV1alpha1()) },
    ];
  }

  #limited<Q>(answer: (request: Q) => object): (request: never) => object {
    return (request) => {
      if (!this.#limit.tryTake()) throw new GrpcStatusError('RESOURCE_EXHAUSTED', 'rejected by rate limit');
      return answer(request as Q);
    };
  }

  list(): ListPodResourcesResponse {
    this.#count('v1', 'total', 'list');
    return { podResources: this.#deps.activePods().map((pod) => podResources(pod, this.#deps.reports)) };
  }

  listV1alpha1(): ListPodResourcesResponse {
    this.#count('v1alpha1', 'total');
    return { podResources: this.#deps.allPods().map((pod) => podDevices(pod, this.#deps.reports)) };
  }

  allocatable(): AllocatableResourcesResponse {
    this.#count('v1', 'total', 'allocatable');
    return allocatableResources(this.#deps.reports);
  }

  /** @throws {Error} when there is no such pod. */
  get({ podName, podNamespace }: GetPodResourcesRequest): GetPodResourcesResponse {
    this.#count('v1', 'total', 'get');
    const pod = this.#deps.podByName(podNamespace, podName);
    if (pod !== undefined) return { podResources: podResources(pod, this.#deps.reports) };
    this.#count('v1', 'getErrors');
    throw new Error(`pod ${podName} in namespace ${podNamespace} not found`);
  }

  #count(version: 'v1' | 'v1alpha1', ...counters: readonly CounterName[]): void {
    for (const name of counters) this.#counters[name].inc({ server_api_version: version });
  }
}
