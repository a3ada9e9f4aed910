// Whom an X.509 client certificate names, as Node's TLS shows it. Pure; the TLS layer has verified the chain. After apiserver
// pkg/authentication/request/x509.

/** What `getPeerCertificate` gives, as far as it is read here. */
export interface PeerCertificate {
  readonly subject?: { readonly CN?: string | string[]; readonly O?: string | string[] };
  readonly ext_key_usage?: readonly string[];
  readonly valid_to?: string;
  readonly raw?: Buffer;
}

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
const ANY_USAGE = '2.5.29.37.0';

/** One that names no usages is for all. */
export function isForClients({ ext_key_usage: usages }: PeerCertificate): boolean {
  return usages === undefined || usages.includes(CLIENT_AUTH) || usages.includes(ANY_USAGE);
}

/** The common name is the user, the organizations are its groups; undefined without a name. */
export function userNamedBy({ subject }: PeerCertificate): { name: string; groups: string[] } | undefined {
  const name = [subject?.CN ?? ''].flat().at(-1) ?? ''; // the last of several, as Go reads it
  return name === '' ? undefined : { name, groups: [subject?.O ?? []].flat() };
}
