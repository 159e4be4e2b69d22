/** Which deltas beside an image a node takes. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { makeTestImage } from '../../test/support/test-image.ts';
import { annotationsOf, DELTA_ARTIFACT_TYPE, LAYER_DELTA_MEDIA_TYPE } from '../delta/format.ts';
import { type Digest, digestOf } from '../digest.ts';
import { LayoutSource } from '../oci/layout-source.ts';
import { LayoutTarget } from '../oci/layout-target.ts';
import { type Descriptor, Manifest } from '../oci/schema.ts';
import { type ArtifactLayer, attachArtifact } from '../publish/attach.ts';
import { parseLocation } from '../publish/location.ts';
import type { TrustPolicy, Verdict } from '../trust/policy.ts';
import type { Engine } from './engine.ts';
import { findDeltas, type FindDeltasOptions, type OfferedDelta } from './find-deltas.ts';

const OLD = digestOf('an old layer');
let scratch: string;
let layout: string;
let image: { readonly digest: Digest; readonly manifest: Manifest };
let subject: Descriptor;
let layers: readonly Descriptor[];

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-find-deltas-'));
  ({ layout } = await makeTestImage(join(scratch, 'image'), [5000, 6000]));
  await using source = await LayoutSource.open(layout);
  const document = await source.manifest('1.0');
  subject = document.descriptor;
  const manifest = Manifest.parse(JSON.parse(document.bytes.toString()));
  image = { digest: subject.digest, manifest };
  layers = manifest.layers;
});
afterEach(async () => {
  await rm(scratch, { recursive: true });
});

interface Wanted {
  readonly of?: Descriptor | undefined;
  readonly content?: Buffer;
  readonly sources?: readonly Digest[];
  readonly mediaType?: string;
}

function delta({
  of,
  content = Buffer.from('a delta'),
  sources = [OLD],
  mediaType,
}: Wanted = {}): ArtifactLayer {
  const layer = (of ?? layers[0])?.digest ?? OLD;
  return {
    mediaType: mediaType ?? LAYER_DELTA_MEDIA_TYPE,
    content,
    annotations: annotationsOf({ layer, sources, size: 10_000 }),
  };
}

async function attach(...of: readonly ArtifactLayer[]): Promise<void> {
  await using target = await LayoutTarget.open(layout, scratch);
  await attachArtifact(target, subject, { artifactType: DELTA_ARTIFACT_TYPE, layers: of }, { scratch });
  await target.finish();
}

async function find(options: Partial<FindDeltasOptions> = {}): Promise<readonly OfferedDelta[]> {
  await using source = await LayoutSource.open(layout);
  const engine = {
    layersHere: (asked: readonly Digest[]) => Promise.resolve(new Set(asked.filter((one) => one === OLD))),
  } as unknown as Engine;
  return await findDeltas(image, {
    ...{ source, engine, policy: undefined, trust: { verdict: 'accepted' }, missing: layers },
    location: parseLocation('registry.example.com/ai/node:1', '/'),
    ...options,
  });
}

const sizesOf = (found: readonly OfferedDelta[]): number[] => found.map(({ blob }) => blob.size);

test('the smallest of each layer that is missing', async () => {
  await attach(
    delta({ content: Buffer.alloc(300) }),
    delta({ of: layers[1], content: Buffer.alloc(400, 1) }),
  );
  await attach(delta({ content: Buffer.alloc(200) }));
  expect(await find()).toMatchObject([
    { layer: layers[0]?.digest, sources: [OLD], size: 10_000, blob: { size: 200 } },
    { layer: layers[1]?.digest, blob: { size: 400 } },
  ]);
  expect(sizesOf(await find({ missing: layers.slice(1) }))).toEqual([400]);
  expect(await find({ missing: [] })).toEqual([]);
});

test('none that needs what is not here, or that is no smaller than its layer', async () => {
  await attach(
    delta({ sources: [OLD, digestOf('another layer')] }),
    delta({ content: Buffer.alloc(layers[0]?.size ?? 0) }),
    delta({ of: { mediaType: 'x', digest: digestOf('no layer of it'), size: 1 } }),
  );
  expect(await find()).toEqual([]);
});

test('none that calls something else its blob, and each blob once', async () => {
  await attach(delta({ mediaType: 'application/vnd.oci.image.layer.v1.tar' }));
  // The other layer itself, smaller than the one that it is to stand for.
  const small = layers[0];
  if (small === undefined) throw new Error('no layer');
  await using source = await LayoutSource.open(layout);
  const bytes = Buffer.concat(await Array.fromAsync(source.blob(small)));
  await attach(delta({ of: layers[1], content: bytes }));
  expect(await find()).toEqual([]);
  await attach(delta(), delta({ of: layers[1] }));
  expect(await find()).toHaveLength(1);
});

test('none of an image that is at hand, and none for an engine that cannot make layers', async () => {
  await attach(delta());
  expect(await find()).toHaveLength(1);
  expect(await find({ location: parseLocation('oci:/somewhere', '/') })).toEqual([]);
  expect(await find({ engine: {} as Engine })).toEqual([]);
});

test('none that is not signed, where signatures are asked for', async () => {
  await attach(delta());
  const policy = (verdict: Verdict): TrustPolicy => ({
    file: 'trust.yaml',
    default: 'accept',
    rules: new Map([['registry.example.com/other', verdict]]),
  });
  const accept: Verdict = { verdict: 'accept', location: undefined };
  expect(await find({ policy: policy(accept) })).toHaveLength(1);
  const signed = { verdict: 'signed', rule: { keys: [] } } as unknown as Verdict;
  expect(await find({ policy: policy(signed) })).toEqual([]);
});
