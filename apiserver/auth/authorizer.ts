// What a user may do. A chain: the first that allows or denies decides, no opinion from any is a denial.
import type { RequestAttributes, UserInfo } from '../request.ts';

export interface AuthorizationAttributes extends RequestAttributes {
  readonly user: UserInfo;
  /** Selectors of list, watch and deletecollection, as sent; for authorizers that look at them (node authorizer). */
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
}

export interface Decision {
  readonly decision: 'allow' | 'deny' | 'no-opinion';
  readonly reason: string;
}

export interface Authorizer {
  authorize(attributes: AuthorizationAttributes): Promise<Decision> | Decision;
}

/** Everything is allowed to everybody, as `--authorization-mode=AlwaysAllow`. */
export const alwaysAllow: Authorizer = { authorize: () => ({ decision: 'allow', reason: '' }) };
