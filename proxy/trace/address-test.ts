// Tests of addresses and ports as rules write them.
import { addressBits, cidrContains, formatIp, isIp, parseCidr, parseIp } from '../../api/cidr.ts';

/** `10.0.0.0/8`, `fd00::/8`, a single address, or a mask in the long form `10.0.0.0/255.0.0.0`. Undefined: none of these. */
export function addressTest(text: string): ((ip: string) => boolean) | undefined {
  const [ip = '', mask] = text.split('/', 2) as [string, string | undefined];
  if (!isIp(ip)) return undefined;
  const prefix = mask === undefined ? addressBits(parseIp(ip).version) : prefixOf(mask);
  if (prefix === undefined || prefix > addressBits(parseIp(ip).version)) return undefined;
  if (prefix === addressBits(parseIp(ip).version)) {
    const canonical = formatIp(parseIp(ip)); // as packets have it; thousands of rules name one address each
    return (other) => other === canonical;
  }
  const cidr = parseCidr(`${ip}/${prefix}`);
  return (other) => isIp(other) && cidrContains(cidr, parseIp(other));
}

/** Both ends belong to it. Undefined when one of them is no address. */
export function addressRangeTest(first: string, last: string): ((ip: string) => boolean) | undefined {
  if (!isIp(first) || !isIp(last)) return undefined;
  const [low, high] = [parseIp(first), parseIp(last)];
  return (other) => {
    const ip = parseIp(other);
    return ip.version === low.version && ip.value >= low.value && ip.value <= high.value;
  };
}

/** `80`, `1000:2000`, `:1023`. Undefined: neither. */
export function portTest(text: string): ((port: number) => boolean) | undefined {
  const [, first, colon, last] = /^(\d*)(:?)(\d*)$/.exec(text) ?? [];
  if (first === undefined || (first === '' && colon === '')) return undefined;
  const low = first === '' ? 0 : Number(first);
  const high = colon === '' ? low : last === '' ? 65_535 : Number(last);
  return (port) => port >= low && port <= high;
}

/** `eth0`, or `veth+` (iptables) and `veth*` (nft) for all that begin so. */
export function deviceTest(pattern: string): (device: string | undefined) => boolean {
  const prefix = /[+*]$/.test(pattern) ? pattern.slice(0, -1) : undefined;
  return (device) => (prefix === undefined ? device === pattern : (device?.startsWith(prefix) ?? false));
}

function prefixOf(mask: string): number | undefined {
  if (/^\d{1,3}$/.test(mask)) return Number(mask);
  if (!isIp(mask)) return undefined;
  const bits = parseIp(mask).value.toString(2);
  return /^1*0*$/.test(bits) ? bits.replace(/0+$/, '').length : undefined;
}
