/** What counts as a signature, on images in layouts: everything that a stranger could put beside one. */
import { randomBytes, sign as signBytes } from 'node:crypto';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { makeTestImage, type TestImage } from '../../test/support/test-image.ts';
import { makeTestIndex } from '../../test/support/test-index.ts';
import { digestOf } from '../digest.ts';
import { LayoutSource } from '../oci/layout-source.ts';
import { LayoutTarget } from '../oci/layout-target.ts';
import { type Descriptor, MEDIA_TYPES } from '../oci/schema.ts';
import { createReporter } from '../report/events.ts';
import { BUNDLE_MEDIA_TYPE, signBundle } from '../trust/bundle.ts';
import { makeKeyPair, parsePrivateKey, type PrivateKey } from '../trust/private-key.ts';
import { type Signer, signerOf } from '../trust/signer.ts';
import {
  SIGNATURE_ANNOTATION,
  signatureTag,
  signSimply,
  SIMPLE_SIGNING_MEDIA_TYPE,
} from '../trust/simple-signing.ts';
import { COSIGN_SIGN, SLSA_PROVENANCE } from '../trust/statement.ts';
import { type ArtifactLayer, attachArtifact, manifestDocument, putBytes } from './attach.ts';
import { signImage } from './sign-image.ts';
import { type Verification, verifyImage, type VerifyOptions } from './verify-image.ts';

const REPOSITORY = 'registry.example.com/ai/node';
const reporter = createReporter([]);

let folder: string;
/** Copied for each test. */
let original: TestImage;
let key: PrivateKey;
let signer: Signer;
let stranger: Signer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-verify-'));
  original = await makeTestImage(join(folder, 'original'), [100]);
  key = newKey();
  signer = signerOf(key);
  stranger = signerOf(newKey());
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function newKey(): PrivateKey {
  return parsePrivateKey(makeKeyPair('pw', randomBytes).privateKey, 'pw', 'x');
}

let scratch: string;
let image: TestImage;
let subject: Descriptor;
beforeEach(async () => {
  scratch = await mkdtemp(join(folder, 'image-'));
  image = { ...original, layout: join(scratch, 'layout') };
  await cp(original.layout, image.layout, { recursive: true });
  await using source = await LayoutSource.open(image.layout);
  subject = (await source.manifest('1.0')).descriptor;
});

async function verify(options: Partial<VerifyOptions> = {}): Promise<Verification> {
  await using source = await LayoutSource.open(image.layout);
  const keys = [signer.publicKey];
  return await verifyImage(source, '1.0', { keys, repository: REPOSITORY, ...options });
}

async function sign(by: Signer = signer, repository = REPOSITORY, layout = image.layout): Promise<void> {
  await using source = await LayoutSource.open(layout);
  await using target = await LayoutTarget.open(layout, scratch);
  const identity = { repository, tags: ['1.0'] };
  await signImage({ source, target, reference: '1.0', identity, signer: by, scratch, reporter });
}

async function attachBundle(...layers: readonly (Buffer | ArtifactLayer)[]): Promise<void> {
  await using target = await LayoutTarget.open(image.layout, scratch);
  const all = layers.map((one) =>
    Buffer.isBuffer(one) ? { mediaType: BUNDLE_MEDIA_TYPE, content: one } : one,
  );
  await attachArtifact(target, subject, { artifactType: BUNDLE_MEDIA_TYPE, layers: all }, { scratch });
  await target.finish();
}

const bundle = async (
  change: { digest?: Descriptor['digest']; predicateType?: string; repository?: string; by?: Signer } = {},
): Promise<Buffer> => {
  const { digest = image.digest, predicateType = COSIGN_SIGN, repository = REPOSITORY, by = signer } = change;
  return (await signBundle({ digest, repository }, predicateType, {}, by)).bytes;
};

/** A bundle, changed as JSON. */
async function edited(edit: (bundle: Bundle) => object): Promise<Buffer> {
  return Buffer.from(JSON.stringify(edit(JSON.parse((await bundle()).toString()) as Bundle)));
}

interface Bundle {
  readonly dsseEnvelope: {
    readonly payload: string;
    readonly signatures: readonly { readonly sig: string }[];
  };
}

/** Signs any payload, as the key's owner could by mistake. */
function envelope(payload: Buffer, type = 'application/vnd.in-toto+json'): Buffer {
  const content = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
  return Buffer.from(
    JSON.stringify({
      mediaType: BUNDLE_MEDIA_TYPE,
      verificationMaterial: { publicKey: { hint: '' } },
      dsseEnvelope: {
        payload: payload.toString('base64'),
        payloadType: type,
        signatures: [{ sig: signBytes('sha256', content, key.key).toString('base64') }],
      },
    }),
  );
}

function statement(change: object): Buffer {
  return Buffer.from(
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ digest: { sha256: image.digest.slice(7) } }],
      predicateType: COSIGN_SIGN,
      predicate: {},
      ...change,
    }),
  );
}

const reasonsOf = ({ manifests }: Verification): readonly string[] =>
  manifests.flatMap(({ refused }) => refused.map(({ form, reason }) => `${form}: ${reason}`));

test('an image that is signed is trusted, in both forms', async () => {
  await sign();
  const verification = await verify();
  expect(verification).toMatchObject({ trusted: true, digest: image.digest, missing: [] });
  expect(
    verification.manifests[0]?.accepted.map(({ form, key: by, identity }) => [form, by, identity]),
  ).toEqual([
    ['bundle', signer.publicKey.fingerprint, REPOSITORY],
    ['simple-signing', signer.publicKey.fingerprint, `${REPOSITORY}:1.0`],
  ]);
});

test('one that nobody signed is not', async () => {
  expect(await verify()).toMatchObject({ trusted: false, manifests: [{ accepted: [], refused: [] }] });
});

test('one of several keys is enough', async () => {
  await sign(stranger);
  expect(await verify({ keys: [signer.publicKey, stranger.publicKey] })).toMatchObject({ trusted: true });
});

test('a signature by another key, or for another repository, counts in neither form', async () => {
  await sign(stranger);
  expect(reasonsOf(await verify())).toEqual(['bundle: key', 'simple-signing: key']);
  await sign(signer, 'registry.example.com/ai/other');
  const verification = await verify();
  expect(verification.trusted).toBe(false);
  expect(reasonsOf(verification).toSorted()).toEqual([
    'bundle: key',
    'bundle: repository',
    'simple-signing: key',
    'simple-signing: repository',
  ]);
  // And does not keep one that counts from counting.
  await sign();
  expect((await verify()).trusted).toBe(true);
});

test('a repository is compared as a whole', async () => {
  await sign(signer, `${REPOSITORY}s`);
  expect((await verify()).trusted).toBe(false);
  expect((await verify({ repository: `${REPOSITORY}s` })).trusted).toBe(true);
  expect((await verify({ repository: undefined })).trusted).toBe(true);
});

describe('a bundle is refused', () => {
  test.each<readonly [string, () => Promise<Buffer>, string]>([
    ['over another digest', () => bundle({ digest: digestOf('another image') }), 'digest'],
    ['by another key', () => bundle({ by: stranger }), 'key'],
    ['that says something else', () => bundle({ predicateType: 'https://example.com/tested' }), 'predicate'],
    ['that is an attestation', () => bundle({ predicateType: SLSA_PROVENANCE }), 'predicate'],
    [
      'with two signatures',
      () =>
        edited((one) => {
          const { signatures } = one.dsseEnvelope;
          return {
            ...one,
            dsseEnvelope: { ...one.dsseEnvelope, signatures: [...signatures, ...signatures] },
          };
        }),
      'signature-count',
    ],
    [
      'without a signature',
      () => edited((one) => ({ ...one, dsseEnvelope: { ...one.dsseEnvelope, signatures: [] } })),
      'signature-count',
    ],
    [
      'whose payload was changed',
      () =>
        edited((one) => ({
          ...one,
          dsseEnvelope: { ...one.dsseEnvelope, payload: statement({}).toString('base64') },
        })),
      'key',
    ],
    [
      'whose signature is garbage',
      () =>
        edited((one) => ({ ...one, dsseEnvelope: { ...one.dsseEnvelope, signatures: [{ sig: 'AAAA' }] } })),
      'key',
    ],
    ['that is cut short', async () => (await bundle()).subarray(0, 200), 'malformed'],
    ['that is empty', () => Promise.resolve(Buffer.from('{}')), 'malformed'],
    [
      'that signs a message, not a statement',
      () => edited((one) => ({ ...one, dsseEnvelope: undefined, messageSignature: {} })),
      'malformed',
    ],
    [
      'of another version',
      () => edited((one) => ({ ...one, mediaType: 'application/vnd.dev.sigstore.bundle.v0.9+json' })),
      'malformed',
    ],
    [
      'with a certificate',
      () => edited((one) => ({ ...one, verificationMaterial: { certificate: { rawBytes: 'AAAA' } } })),
      'keyless',
    ],
    [
      'whose payload is of another type',
      () => Promise.resolve(envelope(statement({}), 'text/plain')),
      'malformed',
    ],
    ['over no statement', () => Promise.resolve(envelope(Buffer.from('"yes"'))), 'malformed'],
    ['over no JSON', () => Promise.resolve(envelope(Buffer.from('{'))), 'malformed'],
    ['about nothing', () => Promise.resolve(envelope(statement({ subject: [] }))), 'digest'],
    [
      'about several images',
      () =>
        Promise.resolve(
          envelope(
            statement({
              subject: [
                { digest: { sha256: image.digest.slice(7) } },
                { digest: { sha256: '0'.repeat(64) } },
              ],
            }),
          ),
        ),
      'digest',
    ],
    [
      'about another algorithm’s digest',
      () =>
        Promise.resolve(envelope(statement({ subject: [{ digest: { sha512: image.digest.slice(7) } }] }))),
      'digest',
    ],
  ])('%s', async (_name, make, reason) => {
    await attachBundle(await make());
    const verification = await verify();
    expect(verification.trusted).toBe(false);
    expect(reasonsOf(verification)).toEqual([`bundle: ${reason}`]);
  });

  test('with what it does not say it has', async () => {
    await attachBundle(await bundle(), Buffer.from('more'));
    await attachBundle({ mediaType: 'text/plain', content: await bundle() });
    expect(reasonsOf(await verify())).toEqual(['bundle: malformed', 'bundle: malformed']);
  });

  test('that is too large to be read', async () => {
    await attachBundle(Buffer.alloc(17 * 1024 * 1024, ' '));
    expect(reasonsOf(await verify())).toEqual(['bundle: malformed']);
  });
});

test('a statement without a name is of the image wherever it lies, as cosign makes them', async () => {
  await attachBundle(envelope(statement({})));
  expect((await verify()).trusted).toBe(true);
});

describe('in the tag of signatures', () => {
  async function putTag(
    layers: readonly { bytes: Buffer; mediaType?: string; signature?: string }[],
  ): Promise<void> {
    await using target = await LayoutTarget.open(image.layout, scratch);
    const put: Descriptor[] = [];
    for (const { bytes, signature, mediaType = SIMPLE_SIGNING_MEDIA_TYPE } of layers) {
      const layer = await putBytes(target, mediaType, bytes, { scratch });
      put.push(
        signature === undefined ? layer : { ...layer, annotations: { [SIGNATURE_ANNOTATION]: signature } },
      );
    }
    const config = await putBytes(target, MEDIA_TYPES.config, Buffer.from('{}'), { scratch });
    const document = manifestDocument({
      schemaVersion: 2,
      mediaType: MEDIA_TYPES.manifest,
      config,
      layers: put,
    });
    await target.putManifest(document, [signatureTag(image.digest)]);
    await target.finish();
  }
  const signed = (payload: Buffer): { bytes: Buffer; signature: string } => ({
    bytes: payload,
    signature: signBytes('sha256', payload, key.key).toString('base64'),
  });
  const claim = (critical: object): Buffer =>
    Buffer.from(
      JSON.stringify({
        critical: {
          identity: { 'docker-reference': REPOSITORY },
          image: { 'docker-manifest-digest': image.digest },
          type: 'cosign container image signature',
          ...critical,
        },
        optional: null,
      }),
    );

  test.each<
    readonly [string, () => Promise<{ bytes: Buffer; mediaType?: string; signature?: string }>, string]
  >([
    [
      'one over another digest',
      () => Promise.resolve(signed(claim({ image: { 'docker-manifest-digest': digestOf('x') } }))),
      'digest',
    ],
    [
      'one for another repository',
      () => Promise.resolve(signed(claim({ identity: { 'docker-reference': `${REPOSITORY}/x:1.0` } }))),
      'repository',
    ],
    ['one of another type', () => Promise.resolve(signed(claim({ type: 'something' }))), 'malformed'],
    ['one with more than there is to say', () => Promise.resolve(signed(claim({ also: true }))), 'malformed'],
    ['one over garbage', () => Promise.resolve(signed(Buffer.from('garbage'))), 'malformed'],
    [
      'one by another key',
      async () => {
        const { payload, signature } =
          (await signSimply(image.digest, REPOSITORY, stranger)) ?? expect.unreachable();
        return { bytes: payload, signature };
      },
      'key',
    ],
    [
      'one whose payload was changed',
      () => Promise.resolve({ ...signed(claim({})), bytes: claim({ type: 'x' }) }),
      'key',
    ],
    ['one without its signature', () => Promise.resolve({ bytes: claim({}) }), 'malformed'],
    ['a layer', () => Promise.resolve({ ...signed(claim({})), mediaType: MEDIA_TYPES.layer }), 'malformed'],
    ['one that is too large', () => Promise.resolve(signed(Buffer.alloc(65 * 1024, ' '))), 'malformed'],
  ])('%s is refused', async (_name, make, reason) => {
    await putTag([await make()]);
    const verification = await verify();
    expect(verification.trusted).toBe(false);
    expect(reasonsOf(verification)).toEqual([`simple-signing: ${reason}`]);
  });

  test('one that counts is found among others', async () => {
    await putTag([{ bytes: Buffer.from('garbage') }, signed(claim({}))]);
    expect(await verify()).toMatchObject({
      trusted: true,
      manifests: [{ refused: [{ reason: 'malformed' }] }],
    });
  });

  test('an image that is none of signatures is told, and signing takes its place', async () => {
    await using target = await LayoutTarget.open(image.layout, scratch);
    const bytes = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.index, manifests: [subject] }),
    );
    const descriptor = { mediaType: MEDIA_TYPES.index, digest: digestOf(bytes), size: bytes.length };
    await target.hasManifest(subject);
    await target.putManifest({ descriptor, bytes }, [signatureTag(image.digest)]);
    await target.finish();
    expect(reasonsOf(await verify())).toEqual(['simple-signing: malformed']);
    await sign();
    expect((await verify()).manifests[0]?.accepted).toHaveLength(2);
  });
});

describe('an attestation', () => {
  const asked = { attestations: [SLSA_PROVENANCE] };

  test('that is asked for must be there, about this image and by a key that is trusted', async () => {
    await sign();
    expect(await verify(asked)).toMatchObject({ trusted: false, missing: [SLSA_PROVENANCE] });
    await attachBundle(await bundle({ predicateType: SLSA_PROVENANCE, digest: digestOf('another image') }));
    await attachBundle(await bundle({ predicateType: SLSA_PROVENANCE, by: stranger }));
    expect(await verify(asked)).toMatchObject({ trusted: false, missing: [SLSA_PROVENANCE] });
    await attachBundle(await bundle({ predicateType: SLSA_PROVENANCE }));
    expect(await verify(asked)).toMatchObject({ trusted: true, missing: [] });
  });

  test('makes no signature', async () => {
    await attachBundle(await bundle({ predicateType: SLSA_PROVENANCE }));
    expect(await verify(asked)).toMatchObject({ trusted: false, missing: [] });
  });
});

test('an index is trusted by its own signature, and not by those of its images', async () => {
  const index = await makeTestIndex(join(scratch, 'multi'));
  const check = async (): Promise<Verification> => {
    await using source = await LayoutSource.open(index.layout);
    return await verifyImage(source, '1.0', { keys: [signer.publicKey], repository: REPOSITORY });
  };
  for (const name of ['amd64', 'arm64']) {
    await using source = await LayoutSource.open(index.layout);
    await using target = await LayoutTarget.open(index.layout, scratch);
    const identity = { repository: REPOSITORY, tags: [] };
    await signImage({ source, target, reference: name, identity, signer, scratch, reporter });
  }
  const before = await check();
  expect(before.trusted).toBe(false);
  expect(before.manifests.map(({ accepted }) => accepted.length)).toEqual([2, 2, 0]);
  await sign(signer, REPOSITORY, index.layout);
  const after = await check();
  expect(after.trusted).toBe(true);
  expect(after.manifests.map(({ platform }) => platform?.architecture)).toEqual([
    'amd64',
    'arm64',
    undefined,
  ]);
});

test('signing again changes nothing', async () => {
  await sign();
  const before = await verify();
  await sign();
  expect(await verify()).toEqual(before);
  await using source = await LayoutSource.open(image.layout);
  // What lies beside an image is no second one.
  expect((await source.manifest(undefined)).descriptor.digest).toBe(image.digest);
});
