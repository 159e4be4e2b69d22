import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { armourKeyring } from '../tools/apt.ts';
import { keyFingerprints, loadKeyring } from './keyring.ts';

/** A public key packet of version 4 (RFC 9580 §5.5.2.2), its key material of so many bytes. */
function keyBody(size: number, seed: number): Buffer {
  return Buffer.concat([Buffer.from([4, 0x65, 0, 0, seed, 1]), Buffer.alloc(size, seed)]);
}

function oldPacket(tag: number, body: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(body.length);
  return Buffer.concat([Buffer.from([0x80 | (tag << 2) | 1]), length, body]);
}

function newPacket(tag: number, body: Buffer): Buffer {
  const { length } = body;
  const header =
    length < 192
      ? [length]
      : length < 8384
        ? [((length - 192) >> 8) + 192, (length - 192) & 0xff]
        : [255, length >> 24, (length >> 16) & 0xff, (length >> 8) & 0xff, length & 0xff];
  return Buffer.concat([Buffer.from([0xc0 | tag, ...header]), body]);
}

function fingerprintOf(body: Buffer): string {
  const length = Buffer.from([0x99, body.length >> 8, body.length & 0xff]);
  return createHash('sha1').update(length).update(body).digest('hex').toUpperCase();
}

const [USER_ID, PUBLIC_KEY, SUBKEY] = [13, 6, 14];

describe('keyFingerprints', () => {
  it('finds primary keys among other packets, in packets of any form', () => {
    const keys = [keyBody(40, 1), keyBody(500, 2), keyBody(9000, 3)];
    const ring = Buffer.concat(
      keys.flatMap((body, index) => [
        (index === 0 ? oldPacket : newPacket)(PUBLIC_KEY, body),
        newPacket(USER_ID, Buffer.from('Somebody')),
        oldPacket(SUBKEY, keyBody(40, 9)),
      ]),
    );
    const wanted = keys.map(fingerprintOf);
    expect(keyFingerprints(ring)).toEqual(wanted);
    expect(keyFingerprints(Buffer.from(armourKeyring(ring)))).toEqual(wanted);
    expect(keyFingerprints(Buffer.from(armourKeyring(ring).replace('\n\n', '\nComment: x\n\n')))).toEqual(
      wanted,
    );
  });

  it('ends on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(keyFingerprints(bytes).every((text) => /^[0-9A-F]{40}$/.test(text))).toBe(true);
      }),
    );
  });
});

describe('loadKeyring', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ingot-keyring-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  it('takes a keyring with exactly the pinned key', async () => {
    const path = join(folder, 'vendor.gpg');
    const [ours, other] = [keyBody(40, 1), keyBody(40, 2)];
    const fingerprint = fingerprintOf(ours);
    await writeFile(path, newPacket(PUBLIC_KEY, ours));
    expect(await loadKeyring({ path, fingerprint })).toContain('BEGIN PGP');
    for (const content of [
      newPacket(PUBLIC_KEY, other),
      Buffer.concat([newPacket(PUBLIC_KEY, ours), newPacket(PUBLIC_KEY, other)]),
      Buffer.from('no key'),
    ]) {
      await writeFile(path, content);
      await expect(loadKeyring({ path, fingerprint })).rejects.toMatchObject({ code: 'MIRROR_UNTRUSTED' });
      expect(await loadKeyring({ path })).toContain('BEGIN PGP');
    }
  });

  it('says what belongs there when nothing is', async () => {
    const path = join(folder, 'none.gpg');
    await expect(loadKeyring({ path, fingerprint: 'F'.repeat(40) })).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      hint: expect.stringContaining('F'.repeat(40)) as string,
    });
    await expect(loadKeyring({ path })).rejects.toMatchObject({
      hint: 'install the package debian-archive-keyring',
    });
  });
});
