// Which HTTP proxy requests go through, as programs in Go find it in their environment (golang.org/x/net/http/httpproxy):
// kubelets honour HTTPS_PROXY and NO_PROXY, and nodes are set up for that.
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { cidrContains, parseCidr, parseIp } from '../api/cidr.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Pure. The URL of the proxy for requests to `server`; undefined: they go there themselves. */
export function proxyFor(server: string, env: Environment): string | undefined {
  const { protocol, hostname, port } = new URL(server);
  const isTls = protocol === 'https:';
  const proxy = isTls ? env.HTTPS_PROXY || env.https_proxy : env.HTTP_PROXY || env.http_proxy;
  if (!proxy) return undefined;
  const host = hostname.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (isNamedIn(env.NO_PROXY || env.no_proxy || '', host, port || (isTls ? '443' : '80'))) return undefined;
  return /^https?:\/\/[^/]/i.test(proxy) ? proxy : `http://${proxy}`;
}

/** A list of names with what is below them, of addresses, both perhaps with a port, of ranges, and `*`. */
function isNamedIn(list: string, host: string, port: string): boolean {
  if (host === 'localhost' || isLoopback(host)) return true;
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry === '*' || isNamedBy(entry, host, port));
}

function isLoopback(ip: string): boolean {
  return ['127.0.0.0/8', '::1/128'].some((range) => isWithin(range, ip));
}

function isNamedBy(entry: string, host: string, port: string): boolean {
  if (entry.includes('/')) return isWithin(entry, host);
  const { name, wantedPort } = splitPort(entry);
  if (name === '' || (wantedPort !== undefined && wantedPort !== port)) return false;
  if (isIP(name) !== 0) return isWithin(`${name}/${isIP(name) === 4 ? 32 : 128}`, host);
  const domain = name.replace(/^\*?\./, '');
  const ascii = domainToASCII(domain) || domain;
  return host.endsWith(`.${ascii}`) || (domain === name && host === ascii);
}

/** `example.com:6443`, `[fd00::1]:6443`, and both without a port. */
function splitPort(entry: string): { readonly name: string; readonly wantedPort?: string | undefined } {
  if (isIP(entry) !== 0) return { name: entry };
  const [, bracketed, plain, wantedPort] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(entry) ?? [];
  return { name: bracketed ?? plain ?? '', wantedPort };
}

/** False for a host that is a name: nobody asks for its addresses. */
function isWithin(range: string, ip: string): boolean {
  if (isIP(ip) === 0) return false;
  try {
    return cidrContains(parseCidr(range), parseIp(ip));
  } catch {
    return false; // Go leaves out what is no range, too
  }
}
