/** What a record of a layer, or of what its tree has beyond it, says that the store has: the blobs of every descriptor in it. */
import * as z from 'zod';

import { DigestText, hexOf } from '../digest.ts';

export interface ClaimedBlob {
  readonly hex: string;
  readonly size: number;
}

/** Kinds of such records. */
export const CLAIMING_RECORDS: ReadonlySet<string> = new Set(['layers', 'remainders']);

const Claim = z.object({ digest: DigestText, size: z.int().nonnegative() });

/** Whatever else stands in the record, an object with a digest and a size is about a blob. */
export function claimedBlobs(record: unknown): readonly ClaimedBlob[] {
  if (record === null || typeof record !== 'object') return [];
  const own = Claim.safeParse(record);
  const nested = Object.values(record).flatMap(claimedBlobs);
  return own.success ? [{ hex: hexOf(own.data.digest), size: own.data.size }, ...nested] : nested;
}
