/** Keyrings that archives are verified with, and whose keys they hold (RFC 9580). */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { errnoOf, IngotError } from '../errors.ts';
import { armourKeyring } from '../tools/apt.ts';

export interface KeyringReference {
  /** Path on the build machine. */
  readonly path: string;
  /** What the keyring must hold, and nothing else. Undefined: whatever the distribution put there. */
  readonly fingerprint?: string | undefined;
}

/**
 * The keyring's public keys in ASCII armour.
 *
 * @throws IngotError ENVIRONMENT when it cannot be read; MIRROR_UNTRUSTED when it holds another key than the pinned
 */
export async function loadKeyring({ path, fingerprint }: KeyringReference): Promise<string> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    throw new IngotError(
      'ENVIRONMENT',
      `the archive keyring ${path} cannot be read (${errnoOf(error) ?? 'error'})`,
      {
        hint:
          fingerprint === undefined
            ? 'install the package debian-archive-keyring'
            : `put the vendor’s signing key there: its fingerprint is ${fingerprint}`,
        cause: error,
      },
    );
  }
  if (fingerprint !== undefined) {
    const found = keyFingerprints(content);
    if (found.length !== 1 || found[0] !== fingerprint) {
      throw new IngotError(
        'MIRROR_UNTRUSTED',
        `the keyring ${path} holds ${found.length === 0 ? 'no key' : found.join(', ')}, not the pinned key ${fingerprint}`,
        { hint: 'if the vendor has a new key, check its fingerprint at the source and pin it in the layer' },
      );
    }
  }
  return armourKeyring(content);
}

const PUBLIC_KEY = 6;

/** Fingerprints of the primary keys of version 4 in a keyring, armoured or not, in upper-case hex digits. */
export function keyFingerprints(keyring: Uint8Array): string[] {
  return [...packetsOf(binaryOf(keyring))].flatMap(({ tag, body }) => {
    if (tag !== PUBLIC_KEY || body[0] !== 4) return [];
    const length = Buffer.from([0x99, body.length >> 8, body.length & 0xff]);
    return [createHash('sha1').update(length).update(body).digest('hex').toUpperCase()];
  });
}

/** A keyring without its armour. */
export function binaryOf(keyring: Uint8Array): Buffer {
  const text = Buffer.from(keyring).toString('latin1');
  if (!text.trimStart().startsWith('-----BEGIN PGP')) return Buffer.from(keyring);
  const blocks = [
    ...text.matchAll(
      /-----BEGIN PGP[^\n]*\n(?:[^\n]*:[^\n]*\n)*\s*([A-Za-z0-9+/=\s]*?)(?:\n=\S{4})?\s*-----END/g,
    ),
  ];
  return Buffer.concat(blocks.map(([, body]) => Buffer.from(body ?? '', 'base64')));
}

interface Packet {
  readonly tag: number;
  readonly body: Buffer;
}

/** Packets of known length, in order; ends at the first that is none. */
function* packetsOf(data: Buffer): Generator<Packet> {
  let at = 0;
  while (at < data.length) {
    const header = headerAt(data, at);
    if (header === undefined || header.start + header.length > data.length) return;
    const { tag, start, length } = header;
    yield { tag, body: data.subarray(start, start + length) };
    at = start + length;
  }
}

interface Header {
  readonly tag: number;
  readonly start: number;
  readonly length: number;
}

function headerAt(data: Buffer, at: number): Header | undefined {
  const first = data[at] ?? 0;
  const second = data[at + 1];
  if ((first & 0x80) === 0 || second === undefined) return undefined;
  if ((first & 0x40) === 0) {
    const tag = (first >> 2) & 0x0f;
    const bytes = 1 << (first & 3);
    if (bytes > 4 || at + 1 + bytes > data.length) return undefined;
    return { tag, start: at + 1 + bytes, length: data.readUIntBE(at + 1, bytes) };
  }
  const tag = first & 0x3f;
  if (second < 192) return { tag, start: at + 2, length: second };
  const third = data[at + 2];
  if (second < 224) {
    return third === undefined
      ? undefined
      : { tag, start: at + 3, length: ((second - 192) << 8) + third + 192 };
  }
  if (second !== 255 || at + 6 > data.length) return undefined;
  return { tag, start: at + 6, length: data.readUInt32BE(at + 2) };
}
