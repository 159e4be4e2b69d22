/** Makes an image's configuration and manifest. Equal plans and layers give equal bytes, so one digest. */
import { type Digest, canonicalJson, digestOf, hexOf } from '../digest.ts';
import { type Descriptor, type ImageConfig, type Manifest, MEDIA_TYPES } from '../oci/schema.ts';
import { renderFacts } from '../plan/image-facts.ts';
import type { Plan, PlanStep } from '../plan/plan.ts';
import { type Store, writeFileAtomically } from '../store/store.ts';
import type { PackedLayer } from './packed-layer.ts';

export interface ImageInput {
  readonly plan: Plan;
  /** Bottom to top. */
  readonly layers: readonly {
    readonly step: Pick<PlanStep, 'name' | 'summary'>;
    readonly layer: PackedLayer;
  }[];
}

export interface RenderedImage {
  readonly config: ImageConfig;
  readonly manifest: Manifest;
  /** Of the manifest: the image's digest. */
  readonly descriptor: Descriptor;
  /** What has to be in the store besides the layers. */
  readonly blobs: readonly { readonly digest: Digest; readonly text: string }[];
}

/** Not of an image without a kernel. */
const BOOTABLE = { 'containers.bootc': '1', 'ostree.bootable': 'true' };

/** Pure: what the image's two documents say. */
export function renderImage({ plan, layers }: ImageInput): RenderedImage {
  const created = rfc3339(plan.epoch);
  const blobs = layers.flatMap(({ step, layer }) => layer.chunks.map((chunk) => ({ step, chunk })));
  const described = {
    'org.opencontainers.image.title': plan.name,
    'org.opencontainers.image.version': plan.version,
    'org.opencontainers.image.created': created,
    ...(plan.description !== undefined && { 'org.opencontainers.image.description': plan.description }),
  };
  const facts = renderFacts(plan.facts);
  const config: ImageConfig = {
    created,
    architecture: plan.architecture,
    os: 'linux',
    config: {
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      Cmd: ['/sbin/init'],
      StopSignal: 'SIGRTMIN+3', // asks systemd to shut down
      Labels: { ...(plan.kernelRelease !== '' && BOOTABLE), ...described, ...facts },
    },
    rootfs: { type: 'layers', diff_ids: blobs.map(({ chunk }) => chunk.diffId) },
    history: blobs.map(({ step, chunk }) => ({
      created,
      created_by: `ingot layer ${step.name} chunk ${chunk.name}`,
      comment: step.summary,
    })),
  };
  const configBlob = jsonBlob(config);
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: { mediaType: MEDIA_TYPES.config, digest: configBlob.digest, size: configBlob.size },
    layers: blobs.map(({ step, chunk }) => ({
      mediaType: chunk.mediaType,
      digest: chunk.digest,
      size: chunk.size,
      annotations: { 'dev.ingot.layer': step.name, 'dev.ingot.chunk': chunk.name },
    })),
    annotations: {
      ...described,
      ...facts,
      'dev.ingot.lock': plan.lock,
      'dev.ingot.health': canonicalJson(plan.seal.health),
    },
  };
  const manifestBlob = jsonBlob(manifest);
  return {
    config,
    manifest,
    descriptor: {
      mediaType: MEDIA_TYPES.manifest,
      digest: manifestBlob.digest,
      size: manifestBlob.size,
      platform: { os: 'linux', architecture: plan.architecture },
    },
    blobs: [configBlob, manifestBlob],
  };
}

/** Puts the image's configuration and manifest into the store, where its layers are. */
export async function assembleImage(store: Store, input: ImageInput): Promise<Descriptor> {
  const image = renderImage(input);
  for (const { digest, text } of image.blobs) {
    const hex = hexOf(digest);
    if ((await store.blobSize(hex)) === Buffer.byteLength(text)) continue;
    await writeFileAtomically(store.blobPath(hex), text);
  }
  return image.descriptor;
}

function jsonBlob(value: unknown): { digest: Digest; size: number; text: string } {
  const text = canonicalJson(value);
  return { digest: digestOf(text), size: Buffer.byteLength(text), text };
}

function rfc3339(epoch: number): string {
  return new Date(epoch * 1000).toISOString().replace('.000Z', 'Z');
}
