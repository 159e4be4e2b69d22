/**
 * `/run/ostree-booted` as ostree-prepare-root 2025.2 writes it on a node of ours: GVariant `a{sv}` with the folder of
 * the deployment, and that the physical root is read-only.
 */
export function renderBootedMark({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): Buffer {
  const pair = Buffer.alloc(16);
  pair.writeBigUInt64LE(dev, 0);
  pair.writeBigUInt64LE(ino, 8);
  const folder = entry('backing-root-device-inode', Buffer.concat([pair, Buffer.from('\0(tt)')]));
  const readOnly = entry('sysroot-ro', Buffer.from('\u0001\0b'));
  const first = padded(folder, 8);
  // Where each entry ends, one byte each.
  return Buffer.concat([first, readOnly, Buffer.from([folder.length, first.length + readOnly.length])]);
}

/** A `{sv}`: the key, the variant at a multiple of eight, and where the key ends. */
function entry(key: string, variant: Buffer): Buffer {
  const name = Buffer.from(`${key}\0`);
  return Buffer.concat([padded(name, 8), variant, Buffer.from([name.length])]);
}

function padded(bytes: Buffer, to: number): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((to - (bytes.length % to)) % to)]);
}
