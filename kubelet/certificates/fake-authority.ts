// A cluster's signer for tests: what kube-controller-manager does with the signing requests of nodes, on demand.
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { createCa, parseCsr, signCsr, YEAR_MS } from '../../api/pki.ts';
import { certificateSigningRequests } from '../../api/resources.ts';
import type { FakeApi } from '../../client/fake-client.ts';

export class FakeAuthority {
  readonly #api: FakeApi;
  readonly #nowMs: () => number;
  readonly #ca;

  constructor(api: FakeApi, nowMs: () => number) {
    this.#api = api;
    this.#nowMs = nowMs;
    this.#ca = createCa('fake', { nowMs: nowMs(), lifetimeMs: 10 * YEAR_MS });
  }

  pending(): CertificateSigningRequest[] {
    return this.#api.all(certificateSigningRequests).filter((r) => r.status?.conditions === undefined);
  }

  /** Approves and signs, both in one write unless `approveOnly`. */
  async issue(request: CertificateSigningRequest, lifetimeMs: number, approveOnly = false): Promise<void> {
    const csr = parseCsr(Buffer.from(request.spec.request, 'base64').toString());
    const validity = { nowMs: this.#nowMs(), lifetimeMs };
    const pem = signCsr(this.#ca, csr, ['digital signature', 'client auth'], validity);
    const certificate = approveOnly ? {} : { certificate: Buffer.from(pem).toString('base64') };
    await this.#decide(request, 'Approved', certificate);
  }

  async deny(request: CertificateSigningRequest): Promise<void> {
    await this.#decide(request, 'Denied', {});
  }

  async #decide({ metadata }: CertificateSigningRequest, type: string, more: object): Promise<void> {
    const conditions = [{ type, status: 'True', reason: 'Test', message: 'by the test' }];
    const body = { status: { conditions, ...more } };
    const name = { name: metadata?.name ?? '' };
    await this.#api.patch(certificateSigningRequests, name, { type: 'merge', body }, { subresource: 'status' });
  }
}
