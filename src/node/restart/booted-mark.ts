/**
 * `/run/ostree-booted`: what ostree-prepare-root says of the root that it made, a GVariant `a{sv}`. libostree takes the
 * deployment for the running one whose folder has the device and inode in it. /run outlives a soft reboot, so whoever
 * goes over to another root says so there (ostree 2025.2, ostree-sysroot.c, parse_deployment).
 */
import { IngotError } from '../../errors.ts';

export interface FolderIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

const KEY = Buffer.from('backing-root-device-inode\0');

/**
 * The same, for another folder. The value is a pair of 64-bit numbers in the machine's byte order, behind its key and
 * the padding that brings it to a multiple of eight.
 *
 * @throws IngotError NODE_FAILED where `from` is not in it: something else than the ostree that we know wrote it
 */
export function moveBootedMark(mark: Buffer, from: FolderIdentity, to: FolderIdentity): Buffer {
  const key = mark.indexOf(KEY);
  const value = key === -1 ? -1 : Math.ceil((key + KEY.length) / 8) * 8;
  const pair = renderPair(from);
  if (value === -1 || !mark.subarray(value, value + pair.length).equals(pair)) {
    throw new IngotError('NODE_FAILED', '/run/ostree-booted does not name the running deployment', {
      hint: 'restart in full: `ingot node upgrade --apply --soft-reboot never`',
    });
  }
  const moved = Buffer.from(mark);
  renderPair(to).copy(moved, value);
  return moved;
}

/** Every machine that Ingot knows has the low byte first. */
function renderPair({ dev, ino }: FolderIdentity): Buffer {
  const pair = Buffer.alloc(16);
  pair.writeBigUInt64LE(dev, 0);
  pair.writeBigUInt64LE(ino, 8);
  return pair;
}
