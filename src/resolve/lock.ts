/**
 * The lock: `x.lock.yaml` beside `x.yaml` (`x@variant.lock.yaml` for a variant). It names every input of a build
 * by digest. It never names a mirror.
 */
import * as z from 'zod';

import { ProductFile, type PackageFamily } from '../catalog/layer.ts';
import { LAYER_MEDIA_TYPES } from '../oci/schema.ts';
import { isDigest, type Digest } from '../digest.ts';
import { LockedArchive, LockedPackage } from '../packages/package.ts';

export const LOCK_SCHEMA_VERSION = 1;

const DigestText = z.custom<Digest>(
  (value) => typeof value === 'string' && isDigest(value),
  'a sha256 digest',
);

/** One layer and the packages it owns, in name order. */
export const LockedLayer = z.strictObject({
  /** Unique in the lock: `base`, `kernel`, `addon-ssh`, `packages`. */
  name: z.string(),
  kind: z.string(),
  /** `LayerDefinition` name and digest; the layer of the declaration's own `packages` has none. */
  definition: z.strictObject({ name: z.string(), digest: DigestText }).optional(),
  /**
   * When this layer last changed: kept from the lock before when its packages and definition are the same, so that
   * a new lock leaves an unchanged layer's bits alone. Its seconds are the layer's SOURCE_DATE_EPOCH.
   */
  created: z.iso.datetime(),
  packages: z.array(LockedPackage),
});
export type LockedLayer = z.infer<typeof LockedLayer>;

/** A layer that was chosen for what it brings. */
const Accelerator = z.strictObject({
  /** What the declaration calls it, such as `nvidia` or `llama.cpp`. */
  name: z.string(),
  /** Name in `layers`. */
  layer: z.string(),
  /** As it was chosen, such as `550.163.01`. None for what comes with the kernel. */
  version: z.string().optional(),
  /** Of the telling package, such as `550.163.01-2`. */
  package: z.string().optional(),
});

export const LockedDriver = Accelerator.extend({
  /** Which of two kinds of kernel modules. */
  modules: z.enum(['open', 'proprietary']).optional(),
});
export type LockedDriver = z.infer<typeof LockedDriver>;

/** A blob that a node pulls. */
export const LockedBlob = z.strictObject({ digest: DigestText, size: z.int().nonnegative() });
export type LockedBlob = z.infer<typeof LockedBlob>;

/** A container image that the node pulls and runs. */
export const LockedContainer = z.strictObject({
  /** Name of the layer; none of one that the declaration itself has. */
  layer: z.string().optional(),
  /** Of the service. */
  name: z.string(),
  /** Registry and repository. */
  image: z.string(),
  /** None of one that was declared by its digest. */
  tag: z.string().optional(),
  /** Of what the name led to: an image, or an index that holds it. */
  digest: DigestText,
  /** Of the image for the node's architecture; where the node pulls it before a restart. */
  manifest: DigestText.optional(),
  /** Its configuration and layers. */
  blobs: z.array(LockedBlob).optional(),
});
export type LockedContainer = z.infer<typeof LockedContainer>;

/** Files out of an artifact, which the node pulls. */
export const LockedModel = z.strictObject({
  name: z.string(),
  /** Registry and repository. */
  artifact: z.string(),
  tag: z.string().optional(),
  /** Of its manifest. */
  digest: DigestText,
  /** In the order of their names. */
  files: z.array(LockedBlob.extend({ name: z.string() })).min(1),
});
export type LockedModel = z.infer<typeof LockedModel>;

/** A GPU that the image must run on, as it was declared, and every PCI id that it can have. */
export const LockedGpu = z.strictObject({
  name: z.string(),
  pci: z.array(z.string().regex(/^[0-9a-f]{4}:[0-9a-f]{4}$/, 'vendor and device, such as 10de:2330')),
  /** How many MIG devices of which profile each of them is to be split into. */
  mig: z.record(z.string(), z.int().positive()).optional(),
});
export type LockedGpu = z.infer<typeof LockedGpu>;

/** A patch of the product's own, without which a module source does not build for the kernel. */
export const LockedPatch = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/, 'the name of a patch'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, '64 hex digits'),
});
export type LockedPatch = z.infer<typeof LockedPatch>;

/** Source of kernel modules: locked, and not installed. */
export const LockedModules = z.strictObject({
  layer: z.string(),
  source: LockedPackage,
  flavour: z.enum(['open', 'proprietary']).optional(),
  patches: z.array(LockedPatch).optional(),
});
export type LockedModules = z.infer<typeof LockedModules>;

/** Ingot on the node: what was put into the image of itself. */
export const LockedAgent = z.strictObject({
  /** Name of the layer's definition, as declarations name it. */
  name: z.string(),
  /** Name in `layers`. */
  layer: z.string(),
  /** Of Ingot, and of the Node.js that runs it. */
  version: z.string(),
  node: z.string(),
  /** Every product file of the layer, in name order. */
  files: z.array(z.strictObject({ name: ProductFile, digest: DigestText, size: z.int() })),
});
export type LockedAgent = z.infer<typeof LockedAgent>;

/** An image that this one is built on: its layers are the lowest of this one, as they are. */
export const LockedBaseImage = z.strictObject({
  /** As the declaration has it. */
  reference: z.string(),
  /** Of its manifest. */
  digest: DigestText,
  /** Whose packages can be added: by its package database and os-release. */
  family: z.enum(['debian', 'rpm', 'none']),
  /** Folder of its package database. */
  database: z.string().optional(),
  /** Lowest first. */
  layers: z
    .array(
      z.strictObject({
        mediaType: z.enum([...LAYER_MEDIA_TYPES]),
        digest: DigestText,
        size: z.int().nonnegative(),
        /** Of the plain archive. */
        diffId: DigestText,
      }),
    )
    .min(1),
});
export type LockedBaseImage = z.infer<typeof LockedBaseImage>;

export const Lock = z.strictObject({
  schemaVersion: z.literal(LOCK_SCHEMA_VERSION),
  name: z.string(),
  variant: z.string().optional(),
  /** Digest of the normalised declaration. A build refuses a lock made for another one. */
  declaration: DigestText,
  /** Digest of the facts by which driver, CUDA, runtimes and kernel were judged; none where nothing was to judge. */
  facts: DigestText.optional(),
  /** When the lock was made, to the second. Its seconds are SOURCE_DATE_EPOCH of every build of it. */
  created: z.iso.datetime(),
  /** Image version: declared, or the lock's date and a counter. */
  version: z.string(),
  base: z.strictObject({
    name: z.string(),
    release: z.string(),
    suite: z.string(),
    architecture: z.enum(['amd64', 'arm64']),
    image: LockedBaseImage.optional(),
  }),
  /** `release` is `uname -r` of the image; all but `flavour` are empty where an image base has no kernel. */
  kernel: z.strictObject({
    flavour: z.string(),
    package: z.string(),
    version: z.string(),
    release: z.string(),
  }),
  gpus: z.array(LockedGpu).optional(),
  driver: LockedDriver.optional(),
  cuda: Accelerator.optional(),
  runtimes: z.array(Accelerator).optional(),
  containers: z.array(LockedContainer).optional(),
  models: z.array(LockedModel).optional(),
  modules: z.array(LockedModules).optional(),
  agent: LockedAgent.optional(),
  /** The root that the modules are built in: the kernel's headers, compiler and make, of the base's own suite. */
  compile: z.strictObject({ packages: z.array(LockedPackage) }).optional(),
  /** The root that rpm and dnf run from, for packages on a base that has rpm's: of the suite of the tools. */
  rpm: z.strictObject({ packages: z.array(LockedPackage) }).optional(),
  /** What turns layer trees into blobs: a part of every blob's bits. */
  compressor: z.strictObject({ name: z.literal('zstd'), version: z.string(), level: z.int() }),
  archives: z.array(LockedArchive),
  layers: z.array(LockedLayer).min(1),
  /** The root that ostree, GRUB, QEMU and friends run from: packages of `suite`, made by the same code. */
  tools: z.strictObject({
    /** Digest of the tools definition that this was solved for. */
    definition: DigestText,
    suite: z.string(),
    archives: z.array(LockedArchive),
    packages: z.array(LockedPackage),
  }),
});
export type Lock = z.infer<typeof Lock>;

/** Whose packages an image has. One without any counts as Debian's. */
export function familyOf({ base }: Pick<Lock, 'base'>): PackageFamily {
  return base.image?.family === 'rpm' ? 'rpm' : 'debian';
}
