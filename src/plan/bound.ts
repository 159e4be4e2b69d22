/**
 * Containers and models that belong to an image: what its node must have in place before it starts. In the image as
 * `/usr/lib/ingot/bound.json`, and as an annotation, so that it is known before a layer is pulled. Pure.
 */
import * as z from 'zod';

import { canonicalJson, digestOfJson, DigestText, hexOf, type Digest } from '../digest.ts';
import type { CatalogLayer } from '../catalog/layer.ts';
import { parseForeignJson } from '../oci/foreign-json.ts';
import type { Lock, LockedLayer } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { pinQuadlet } from '../spec/quadlet.ts';
import type { PlannedFile, PlannedUnit, SealInput } from './plan.ts';

export const BOUND_PATH = '/usr/lib/ingot/bound.json';
export const BOUND_ANNOTATION = 'dev.ingot.bound';
/** What makes good what is missing when the system starts. */
export const BOUND_UNIT = 'ingot-bound.service';
/** Podman's image store of bound containers. bootc has it under the same name and at the same place. */
export const BOUND_STORE = '/usr/lib/bootc/storage';
export const BOUND_STORE_PLACE = '/sysroot/ostree/bootc/storage';
/** Where bootc looks for the quadlets of containers that belong to an image. */
const BOUND_IMAGES = '/usr/lib/bootc/bound-images.d';
const QUADLETS = '/usr/share/containers/systemd';
/** Files of models, in a folder for each digest. */
export const MODEL_FOLDER = '/var/lib/ingot/models';
/** Says by its name which set of containers and models is in place. */
export const COMPLETE_FOLDER = '/var/lib/ingot/bound';

const Name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/);
const Place = z.string().regex(/^[a-z0-9.:[\]-]+(?:\/[a-z0-9._-]+)+$/);
const Blob = z.object({ digest: DigestText, size: z.int().nonnegative() });

export const BoundContainer = z.object({
  /** Of its service. */
  name: Name,
  /** Registry and repository. */
  image: Place,
  tag: z.string().optional(),
  /** Of what the tag led to: what is signed. */
  digest: DigestText,
  /** Of the image itself. */
  manifest: DigestText,
  /** Configuration and layers. */
  blobs: z.array(Blob),
});
export type BoundContainer = z.infer<typeof BoundContainer>;

/** Relative, and inside of the folder that it is put into. */
const FileName = z
  .string()
  .max(1024)
  .regex(/^(?!\/)[^\p{Cc}]+$/u)
  .refine((name) => name.split('/').every((part) => !['', '.', '..'].includes(part)));

export const BoundModel = z.object({
  name: Name,
  artifact: Place,
  tag: z.string().optional(),
  digest: DigestText,
  /** Where the node sees its files. */
  path: z.string(),
  files: z.array(Blob.extend({ name: FileName })).min(1),
});
export type BoundModel = z.infer<typeof BoundModel>;

export const BoundContent = z.object({
  containers: z.array(BoundContainer),
  models: z.array(BoundModel),
});
export type BoundContent = z.infer<typeof BoundContent>;

/** Undefined where nothing belongs to the image: without an agent, Podman pulls what a layer runs when it starts. */
export function boundOf(lock: Lock, image: Pick<NodeImage, 'models'>): BoundContent | undefined {
  if (lock.agent === undefined) return undefined;
  const containers = (lock.containers ?? []).flatMap(
    ({ layer: _, manifest, blobs, ...rest }): BoundContainer[] =>
      manifest === undefined || blobs === undefined ? [] : [{ ...rest, manifest, blobs }],
  );
  const models = (lock.models ?? []).map((model): BoundModel => {
    const path = image.models?.find(({ name }) => name === model.name)?.path;
    if (path === undefined) throw new TypeError(`the model ${model.name} is not declared`);
    return { ...model, path };
  });
  return containers.length + models.length === 0 ? undefined : { containers, models };
}

/** Equal for equal content: what a node has of it in place is noted under this name. */
export function boundDigest(content: BoundContent): Digest {
  return digestOfJson(content);
}

/** Every byte once. */
export function boundBlobs({ containers, models }: BoundContent): ReadonlyMap<Digest, number> {
  return new Map(
    [...containers.flatMap(({ blobs }) => blobs), ...models.flatMap(({ files }) => files)].map(
      ({ digest, size }) => [digest, size] as const,
    ),
  );
}

/** Where the files of a model are on a node. */
export function modelPlace(digest: Digest): string {
  return `${MODEL_FOLDER}/sha256-${hexOf(digest)}`;
}

/** A container's quadlet, for its image alone and out of the store of bound ones. */
export function boundQuadlet(
  text: string,
  { image, manifest }: Pick<BoundContainer, 'image' | 'manifest'>,
): string {
  return pinQuadlet(text, { image: `${image}@${manifest}`, store: BOUND_STORE, after: BOUND_UNIT });
}

export function quadletPath(name: string): string {
  return `${QUADLETS}/${name}.container`;
}

/** Units that run a layer's container, by digest. */
export function layerQuadlets(
  definition: CatalogLayer | undefined,
  { name }: LockedLayer,
  lock: Lock,
): PlannedFile[] {
  return (lock.containers ?? []).flatMap((container): PlannedFile[] => {
    if (container.layer !== name || definition?.quadlet === undefined) return [];
    return [
      {
        path: quadletPath(container.name),
        content:
          lock.agent === undefined || container.manifest === undefined
            ? definition.quadlet.replaceAll('{image}', `${container.image}@${container.digest}`)
            : boundQuadlet(definition.quadlet, { ...container, manifest: container.manifest }),
        mode: 0o644,
        user: 'root',
        group: 'root',
      },
    ];
  });
}

/** What the seal puts into an image that has such. */
export function boundFiles(image: NodeImage, lock: Lock): readonly PlannedFile[] {
  const content = boundOf(lock, image);
  if (content === undefined) return [];
  const place = { mode: 0o644, user: 'root', group: 'root' };
  const declared = (image.containers ?? []).map(({ name, quadlet }): PlannedFile => {
    const locked = content.containers.find((one) => one.name === name);
    if (locked === undefined) throw new TypeError(`the lock has no container ${name}`);
    return { ...place, path: quadletPath(name), content: boundQuadlet(quadlet, locked) };
  });
  const store =
    content.containers.length === 0 ? [] : [{ path: BOUND_STORE, link: BOUND_STORE_PLACE } as const];
  return [
    { ...place, path: BOUND_PATH, content: `${JSON.stringify(content, null, 2)}\n` },
    ...declared,
    ...store,
    ...content.containers.map(({ name }) => ({
      path: `${BOUND_IMAGES}/${name}.container`,
      link: quadletPath(name),
    })),
    ...content.models.map(({ path, digest }) => ({ path, link: modelPlace(digest) })),
  ];
}

/** Pulls what is missing when the system starts, and says whether a boot has all. */
export function boundService(content: BoundContent): {
  readonly unit: PlannedUnit;
  readonly health: SealInput['health'][number];
} {
  const origin = 'containers and models';
  return {
    unit: { name: BOUND_UNIT, enabled: true, masked: false, content: boundUnit(content), origin },
    health: { name: 'bound-content', run: 'ingot node bound', timeoutSeconds: 120 },
  };
}

/** Runs where something is missing: on a node that was just installed, or whose /var is new. */
function boundUnit(content: BoundContent): string {
  return `[Unit]
Description=Containers and models of this image
ConditionPathExists=!${COMPLETE_FOLDER}/${hexOf(boundDigest(content))}
Wants=network-online.target
After=network-online.target local-fs.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ingot node bound --pull
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=30s
RestartMode=direct

[Install]
WantedBy=multi-user.target
`;
}

/** As the annotation has it. */
export function renderBound(content: BoundContent): string {
  return canonicalJson(content);
}

/** @returns undefined for a text that is nothing of the kind */
export function parseBound(text: string | undefined): BoundContent | undefined {
  return parseForeignJson(text, BoundContent);
}
