/**
 * What an installer carries, and how the disk that it makes comes to be its own.
 *
 * The disk is carried as the pieces of it that are not zero, each with its digest, in one zstd stream. File systems and
 * the files that name them have UUIDs of this medium; `patches` says where those stand as text, so that the machine puts
 * fresh ones in their place. The digest of the description is on the kernel command line of the installer.
 */
import * as z from 'zod';

import { DigestText } from '../../digest.ts';
import { MIB } from '../layout.ts';
import { TargetRule } from './target.ts';

/** Bytes of one piece. Partitions begin and end at multiples of it. */
export const PIECE_BYTES = MIB;

/** Names on the medium; ISO 9660 itself has no others than such. */
export const MEDIUM_FILE = '/INGOT/MEDIUM.JSON';
export const PAYLOAD_FILE = '/INGOT/DISK.ZST';

/** On the installer's kernel command line: `sha256:…` of `MEDIUM_FILE`. */
export const MEDIUM_ARGUMENT = 'ingot.medium';
/** Installs although the disk was installed from this medium before. */
export const AGAIN_ARGUMENT = 'ingot.again';

const bytes = z.int().nonnegative();
const uuid = z.uuid();
const volumeId = z.string().regex(/^[0-9A-F]{8}$/);

export const Medium = z.strictObject({
  schemaVersion: z.literal(1),
  /** Of this medium alone. */
  id: uuid,
  image: z.strictObject({ name: z.string(), version: z.string(), digest: DigestText }),
  /** Of the disk as it is carried: the smallest that one can install to. */
  size: bytes,
  identity: z.strictObject({ bootUuid: uuid, rootUuid: uuid, espVolumeId: volumeId }),
  /** Number of the piece, counted from the start of the disk, and its SHA-256; ascending. */
  pieces: z.array(z.tuple([bytes, z.string().regex(/^[0-9a-f]{64}$/)])),
  /** Bytes from the start of the disk where one of `identity` stands as text. */
  patches: z.array(z.strictObject({ offset: bytes, of: z.enum(['boot', 'root', 'esp']) })),
  /** Absent: asked for at the console. */
  target: TargetRule.optional(),
  /** Whether a disk with data may be overwritten. */
  wipe: z.boolean(),
  then: z.enum(['reboot', 'power-off']),
});
export type Medium = z.infer<typeof Medium>;
