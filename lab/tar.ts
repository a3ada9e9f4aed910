// A minimal tar archive (POSIX.1-1988 ustar): files, directories and symbolic links, with fixed times and owners so
// that equal content gives equal bytes.

export type TarEntry =
  | { readonly kind: 'file'; readonly path: string; readonly content: Uint8Array; readonly mode: number }
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string };

const BLOCK = 512;
const TYPE_FLAGS = { file: '0', symlink: '2', directory: '5' } as const;

export function createTar(entries: readonly TarEntry[]): Buffer {
  const blocks = entries.flatMap((entry) => {
    const content = entry.kind === 'file' ? entry.content : new Uint8Array(0);
    return [header(entry, content.length), content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]); // two empty blocks end an archive
}

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const name = entry.kind === 'directory' ? `${entry.path}/` : entry.path;
  for (const text of [name, entry.kind === 'symlink' ? entry.target : '']) {
    if (Buffer.byteLength(text) > 100) throw new RangeError(`path too long for this tar writer: ${text}`);
  }
  const octal = (value: number, width: number): string => value.toString(8).padStart(width - 1, '0');
  const mode = entry.kind === 'symlink' ? 0o777 : entry.mode;
  block.write(name, 0);
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8), 108); // uid
  block.write(octal(0, 8), 116); // gid
  block.write(octal(size, 12), 124);
  block.write(octal(0, 12), 136); // mtime
  block.write('        ', 148); // the checksum counts as spaces while it is computed
  block.write(TYPE_FLAGS[entry.kind], 156);
  if (entry.kind === 'symlink') block.write(entry.target, 157);
  block.write('ustar\u000000', 257);
  const checksum = block.reduce((sum, byte) => sum + byte, 0);
  block.write(`${octal(checksum, 7)}\u0000 `, 148);
  return block;
}
