import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import type { ManifestDocument } from '../oci/image-transfer.ts';
import { MEDIA_TYPES } from '../oci/schema.ts';
import { publicKey } from '../trust/public-key.ts';
import { signerOf } from '../trust/signer.ts';
import { requireAcceptedSigner } from './lock-out.ts';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ours = publicKey(createPublicKey(privateKey), 'ours');
const signer = signerOf({ key: privateKey, publicKey: ours });

/** An image that takes updates by these rules. */
function imageWith(repositories: object): ManifestDocument {
  const empty = { mediaType: MEDIA_TYPES.empty, digest: digestOf('{}'), size: 2 };
  const annotations = { 'dev.ingot.update.policy': JSON.stringify({ default: 'reject', repositories }) };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config: empty,
      layers: [],
      annotations,
    }),
  );
  return {
    descriptor: { mediaType: MEDIA_TYPES.manifest, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
}

const keys = [ours.fingerprint];
const other = digestOf('another key');

test.each<readonly [string, object]>([
  ['the key that it has', { 'r/node': { keys } }],
  ['a key of several', { 'r/node': { keys: [other, ...keys] } }],
  ['nothing of the repository, and its nodes do not look there', { 'r/other': { keys: [other] } }],
  ['anything', { 'r/node': 'accept' }],
  ['what is signed for this very repository', { 'r/node': { keys, signedAs: 'r/node' } }],
])('an image takes %s', (_name, repositories) => {
  expect(() => {
    requireAcceptedSigner([imageWith(repositories)], 'r/node', signer);
  }).not.toThrow();
});

test.each<readonly [string, object, RegExp]>([
  [
    'another key',
    { 'r/node': { keys: [other] } },
    /would refuse it .* from r\/node: it takes what \w{12} signs, not/,
  ],
  ['nothing', { 'r/node': 'reject' }, /it takes nothing from there/],
  [
    'what is signed for another repository',
    { 'r/node': { keys, signedAs: 'upstream/node' } },
    /it takes what \w{12} signs for upstream\/node, not/,
  ],
])('an image that takes %s locks its nodes out', (_name, repositories, message) => {
  expect(() => {
    requireAcceptedSigner([imageWith(repositories)], 'r/node', signer);
  }).toThrow(
    expect.objectContaining({ code: 'UPDATE_LOCKOUT', message: expect.stringMatching(message) as string }),
  );
});
