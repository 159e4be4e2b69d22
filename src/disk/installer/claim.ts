/**
 * A note of the installer's in the free space in front of the first partition: whose work this disk is. With it a run
 * that was cut short may be repeated on a disk that is no longer empty, and a machine that starts from the medium again
 * after its installation is not installed over and over.
 */
import type { FileHandle } from 'node:fs/promises';
import * as z from 'zod';

export const CLAIM_OFFSET = 512 * 1024;
const CLAIM_BYTES = 4096;
const MAGIC = 'ingot-installer ';

export const Claim = z.object({
  /** Digest of the medium's description. */
  medium: z.string(),
  image: z.string(),
  state: z.enum(['installing', 'installed']),
});
export type Claim = z.infer<typeof Claim>;

/** One block, so that a disk writes it whole. */
export function renderClaim(claim: Claim): Buffer {
  const bytes = Buffer.alloc(CLAIM_BYTES);
  bytes.write(`${MAGIC}${JSON.stringify(claim)}\n`);
  return bytes;
}

export function parseClaim(bytes: Buffer): Claim | undefined {
  const text = bytes.toString();
  const end = text.indexOf('\n');
  if (!text.startsWith(MAGIC) || end < 0) return undefined;
  try {
    return Claim.safeParse(JSON.parse(text.slice(MAGIC.length, end))).data;
  } catch {
    return undefined;
  }
}

export async function readClaim(disk: FileHandle): Promise<Claim | undefined> {
  const bytes = Buffer.alloc(CLAIM_BYTES);
  await disk.read(bytes, 0, CLAIM_BYTES, CLAIM_OFFSET);
  return parseClaim(bytes);
}
