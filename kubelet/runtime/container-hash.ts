// The container hash that decides "definition changed", and the two FNV-1a sums behind it and behind the back-off key.
// Byte for byte as the kubelet writes it, so that containers of an upstream kubelet are adopted without a restart
// (pkg/kubelet/container/helpers.go HashContainer, pkg/util/hash DeepHashObject).

/** FNV-1a, 32 bits, over the UTF-8 bytes of `text`; lower-case hex without padding. */
export function fnv1a32Hex(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash.toString(16);
}

const FNV64_OFFSET = 0xcbf29ce484222325n;
const FNV64_PRIME = 0x100000001b3n;

/** FNV-1a, 64 bits, over the UTF-8 bytes of `text`; lower-case hex without padding. */
export function fnv1a64Hex(text: string): string {
  let hash = FNV64_OFFSET;
  for (const byte of Buffer.from(text, 'utf8')) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV64_PRIME);
  return hash.toString(16);
}

/** Hash of what makes a container another container: its name and image. Other spec changes do not restart it. */
export function containerHash(container: { readonly name: string; readonly image?: string | undefined }): string {
  const json = goJson(`{"image":${JSON.stringify(container.image ?? '')},"name":${JSON.stringify(container.name)}}`);
  // Upstream prints the JSON with a Go value printer before hashing: a byte slice appears as decimal numbers.
  return fnv1a32Hex(`([]uint8)[${[...Buffer.from(json, 'utf8')].join(' ')}]`);
}

/** Go's encoding/json escapes what could end an HTML script element, and two line separators of JavaScript. */
function goJson(json: string): string {
  return json
    .replaceAll('<', '\\u003c')
    .replaceAll('>', '\\u003e')
    .replaceAll('&', '\\u0026')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}
