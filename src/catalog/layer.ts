/**
 * A layer definition: a named building block of the catalogue, in `layers/<kind>/<name>.yaml`.
 * The zod schemas parse and normalise; each shares its name with the type it infers.
 *
 * Locks hold a digest of the parsed definition. A key that came later is optional and has no default, so that the
 * digest of a definition without it stays.
 */
import * as z from 'zod';

import { parseDigest, type Digest } from '../digest.ts';
import {
  ASKS_ONE_WAY,
  FileMode,
  FilePath,
  HealthFields,
  KernelArgument,
  SERVICE_ANSWERS,
  UnitName,
} from '../spec/schema.ts';
import { secondsOf } from '../spec/normalise.ts';
import { ConstraintError, parseConstraint, type Constraint } from './constraint.ts';

export const LayerKind = z.enum(['base', 'kernel', 'driver', 'cuda', 'runtime', 'agent', 'addon']);
export type LayerKind = z.infer<typeof LayerKind>;

const name = z.string().regex(/^[a-z][a-z0-9.+-]*$/, 'lower-case letters, digits, and . + -');

export const PackageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'a Debian package name');

/** A package whose name differs by architecture has `{arch}` where Debian's name of it stands. */
export const PackagePattern = z
  .string()
  .regex(
    /^(?:[a-z0-9]|\{arch\})(?:[a-z0-9+.-]|\{arch\})+$/,
    'a Debian package name, in which {arch} becomes the architecture',
  );

/** Files of Ingot's own, which it makes itself when an image asks for them; the lock has their digests. */
export const ProductFile = z.enum([
  'node',
  'ingot.mjs',
  'ingot-node.mjs',
  'hash-worker.mjs',
  'package.json',
  'LICENSES',
]);
export type ProductFile = z.infer<typeof ProductFile>;

/** A file the layer puts into the image. Exactly one of `content`, `from` (a file in the layer's own folder) and `product`. */
export const LayerFile = z
  .strictObject({
    path: FilePath.describe('Absolute path in the image, under /usr or /etc.'),
    content: z.string().optional().describe('The whole text of the file.'),
    from: z
      .string()
      .regex(/^[^/\0][^\0]*$/, 'a path relative to the folder of the layer')
      .optional()
      .describe('A file in the folder beside the definition that has its name.'),
    product: ProductFile.optional().describe(
      'A file of Ingot itself: the Node.js it runs on, its program, that of `ingot node` alone, a thread of both, what it says of itself, their licences.',
    ),
    mode: FileMode.transform((text) => Number.parseInt(text, 8))
      .prefault('0644')
      .describe('Octal permission bits, in quotes.'),
  })
  .refine(
    ({ content, from, product }) =>
      [content, from, product].filter((source) => source !== undefined).length === 1,
    { message: 'needs one of content, from and product' },
  );
export type LayerFile = z.infer<typeof LayerFile>;

export const LayerUnit = z.strictObject({
  name: UnitName,
  enabled: z.boolean().optional().describe('Default: as the distribution presets it.'),
  masked: z.boolean().default(false).describe('True makes the unit impossible to start.'),
});
export type LayerUnit = z.infer<typeof LayerUnit>;

/** A release of a base, as declarations name it. */
const ReleaseReference = z
  .string()
  .regex(/^[a-z][a-z0-9.+-]*@[a-z0-9.]+$/, 'a base and its release, such as debian@13');

/** Strings in the solver's words become constraints; `cuda: 12.x` in a YAML list is a mapping of one key. */
const ConstraintText = z
  .union([z.string(), z.record(z.string(), z.string())])
  .transform((written, context): Constraint => {
    const text =
      typeof written === 'string'
        ? written
        : Object.entries(written)
            .map((pair) => pair.join(': '))
            .join(', ');
    try {
      return parseConstraint(text);
    } catch (error) {
      if (!(error instanceof ConstraintError)) throw error;
      const params = typeof written === 'string' ? { offset: error.offset } : {};
      context.addIssue({ code: 'custom', message: error.message, params });
      return z.NEVER;
    }
  });

/**
 * A version that the layer brings on some releases, known before any package index is read: what the solver chooses
 * from. The version of the locked package is held against it.
 */
export const Offer = z.strictObject({
  in: z.array(ReleaseReference).min(1).describe('Releases that have it, such as debian@13.'),
  version: z
    .string()
    .regex(/^\d+(?:\.\d+)*$/, 'numbers and dots, such as 550.163.01')
    .describe('Version, or the start of one that the solver need not know more of, such as 12.4.'),
  cuda: z
    .string()
    .regex(/^\d+(?:\.\d+)*$/, 'a CUDA version, such as 12.4')
    .optional()
    .describe('CUDA that this version is built for.'),
  packages: z.array(PackageName).optional().describe('Packages besides those of `install`.'),
  tag: z
    .string()
    .regex(/^\w[\w.-]{0,127}$/, 'a tag')
    .optional()
    .describe('Tag of the container image.'),
  digest: z
    .string()
    .regex(/^sha256:[0-9a-f]{64}$/, 'sha256: and 64 hex digits')
    .transform((digest) => parseDigest(digest))
    .optional()
    .describe('Digest of the container image. Without one the declaration must give it.'),
});
export type Offer = z.infer<typeof Offer>;

/** Package repository of a vendor. Its address is public and part of the layer, unlike a distribution's mirror. */
export const Repository = z.strictObject({
  name,
  url: z
    .url({ protocol: /^(?:https?|file)$/ })
    .describe(
      'Address of its root. `{release}` and `{suite}` become those of the base, `{arch}` the architecture.',
    ),
  architectures: z
    .partialRecord(z.enum(['amd64', 'arm64']), z.string().regex(/^[\w-]+$/, 'a name such as x86_64'))
    .optional()
    .describe('What `{arch}` in the address becomes. Default: Debian’s names, amd64 and arm64.'),
  suite: z.string().min(1).default('./').describe('Suite, or ./ for a repository without suites.'),
  components: z.array(z.string()).default([]).describe('Components of the suite.'),
  key: z
    .strictObject({
      fingerprint: z
        .string()
        .regex(/^[0-9A-F]{40}$/, 'the 40 hex digits of the key, in upper case')
        .describe('Fingerprint of the one key that signs it.'),
      keyring: z
        .string()
        .regex(/^\/[^\0]+$/, 'an absolute path')
        .describe('Keyring on the build machine that must hold this key and no other.'),
    })
    .describe('What its indexes are signed with.'),
});
export type Repository = z.infer<typeof Repository>;

/** Source of kernel modules. Its package is locked and never installed: the modules are built apart. */
export const ModuleSource = z.strictObject({
  source: PackageName.describe('Package that holds the source, such as nvidia-open-kernel-dkms.'),
  flavour: z
    .enum(['open', 'proprietary'])
    .optional()
    .describe('Of two kinds of modules for one driver, which.'),
});
export type ModuleSource = z.infer<typeof ModuleSource>;

/** A service that runs from a container image, as a Podman quadlet. */
export const LayerContainer = z
  .strictObject({
    name: name.describe('Name of the service, and of its quadlet.'),
    image: z
      .string()
      .regex(/^[a-z0-9.-]+\.[a-z]+(?::\d+)?\/[a-z0-9._/-]+$/, 'registry and repository, without a tag')
      .describe('Registry and repository. Tag and digest are the offer’s.'),
    content: z.string().optional().describe('Text of the quadlet. `{image}` becomes image@digest.'),
    from: z
      .string()
      .regex(/^[^/\0][^\0]*$/, 'a path relative to the folder of the layer')
      .optional()
      .describe('The quadlet as a file in the folder beside the definition that has its name.'),
  })
  .refine((container) => (container.content === undefined) !== (container.from === undefined), {
    message: 'needs either content or from',
  });
export type LayerContainer = z.infer<typeof LayerContainer>;

/** What a layer installs on one distribution family. */
export const LayerInstall = z.strictObject({
  packages: z
    .array(PackagePattern)
    .default([])
    .describe('Debian packages. `{arch}` becomes the architecture of the image, such as arm64.'),
  packagesWith: z
    .strictObject({
      cuda: z.array(PackagePattern).min(1).describe('Where the image has CUDA.'),
    })
    .optional()
    .describe('Packages besides those, by what else the image has.'),
  components: z
    .array(z.string().regex(/^[a-z][a-z-]*$/, 'a component, such as non-free'))
    .optional()
    .describe('Components of the base’s archives besides its own.'),
  repositories: z.array(Repository).optional().describe('Package repositories of vendors.'),
  release: ReleaseReference.optional().describe(
    'Kernels only: the release that its kernel comes from, such as debian@13. Default: the image’s own.',
  ),
  versionOf: z
    .array(PackageName)
    .min(1)
    .optional()
    .describe(
      'Packages that carry the version that was offered, the telling one first. One that another offer brings counts for that one.',
    ),
  files: z.array(LayerFile).default([]).describe('Files to put into the image.'),
  units: z.array(LayerUnit).default([]).describe('systemd units to enable, disable or mask.'),
  kernelArguments: z.array(KernelArgument).default([]).describe('For the kernel command line.'),
});
export type LayerInstall = z.infer<typeof LayerInstall>;

/** A name of rpm's, unlike one of Debian's, may have capitals and `_`. */
export const RpmPackageName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+-]*$/, 'the name of an rpm package');

/** Repository of a vendor's with rpm packages, besides those that the base image has itself. */
export const RpmLayerRepository = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][\w.-]*$/, 'letters, digits, and . _ -'),
  url: z
    .url({ protocol: /^(?:https?|file)$/ })
    .describe('Address of its root. `{release}` becomes VERSION_ID of the base, `{arch}` x86_64 or aarch64.'),
  signs: z
    .enum(['packages', 'index'])
    .default('packages')
    .describe('What it signs: its packages, or repomd.xml, which names them.'),
  key: Repository.shape.key.describe('What that is signed with.'),
});
export type RpmLayerRepository = z.infer<typeof RpmLayerRepository>;

const LayerHealth = z.array(
  HealthFields.extend({
    timeout: HealthFields.shape.timeout.unwrap().transform(secondsOf).prefault('30s'),
  })
    .refine(...ASKS_ONE_WAY)
    .refine(...SERVICE_ANSWERS),
);

/** What a layer installs on a base image with rpm packages. */
export const RpmInstall = z.strictObject({
  status: z
    .enum(['verified', 'unverified'])
    .optional()
    .describe('Unverified until a lock has been made with it on such a base.'),
  packages: z.array(RpmPackageName).default([]).describe('rpm packages; their dependencies come along.'),
  repositories: z.array(RpmLayerRepository).optional().describe('Package repositories of vendors.'),
  files: LayerInstall.shape.files,
  units: LayerInstall.shape.units,
  kernelArguments: LayerInstall.shape.kernelArguments,
  health: LayerHealth.optional().describe('In place of the layer’s own, where units are called otherwise.'),
});
export type RpmInstall = z.infer<typeof RpmInstall>;

/** Whose packages: Debian’s and its relatives’, or rpm’s. */
export type PackageFamily = 'debian' | 'rpm';

/** An archive of a distribution release. `name` is also the archive's name in snapshot services. */
export const Archive = z.strictObject({
  name: z.string(),
  suites: z.array(z.string()).min(1),
  components: z.array(z.string()).min(1),
  keyring: z.string(),
});
export type Archive = z.infer<typeof Archive>;

export const Release = z.strictObject({
  suite: z.string().describe('Code name, such as trixie.'),
  archives: z
    .array(Archive)
    .min(1)
    .describe('Where its packages come from; the mirror is the machine’s own.'),
  checkValidUntil: z
    .boolean()
    .default(true)
    .describe('False for suites whose indexes are routinely past their Valid-Until (testing, sid).'),
});
export type Release = z.infer<typeof Release>;

export const LayerDefinition = z
  .strictObject({
    name: name.describe('As the file is named.'),
    kind: LayerKind.describe('As the folder is named.'),
    summary: z.string().min(1).describe('One line that says what it is for.'),
    needs: z
      .array(z.string())
      .default([])
      .describe(
        'Layers that must be below this one: `base`, `kernel`, names of addons, or what a driver or cuda layer provides.',
      ),
    provides: z.array(z.string()).default([]).describe('What declarations and other layers may ask for.'),
    status: z
      .enum(['verified', 'unverified'])
      .optional()
      .describe('Unverified until a lock has been made with it.'),
    in: z.array(ReleaseReference).min(1).optional().describe('Releases that it is for. Default: all.'),
    requires: z
      .array(ConstraintText)
      .optional()
      .describe('What must hold, such as `driver >= 525`, `computeCapability >= 7.5` or `cuda: 12.x`.'),
    offers: z.array(Offer).min(1).optional().describe('Versions that it brings, by release.'),
    modules: ModuleSource.optional().describe('Where its kernel modules come from.'),
    lacks: z
      .array(z.string().regex(/^[a-z0-9_]+$/, 'the name of a kernel module'))
      .min(1)
      .optional()
      .describe('Kernels only: modules that its kernels do not have and that a rule may ask for.'),
    container: LayerContainer.optional().describe('The container that it runs.'),
    labels: z.record(z.string(), z.string()).optional().describe('Labels of a node that has it.'),
    releases: z.record(z.string(), Release).optional().describe('Bases only: releases by number.'),
    defaultRelease: z
      .string()
      .optional()
      .describe('Bases only: the release that the name alone means, as in `base: debian`.'),
    install: z
      .strictObject({
        debian: LayerInstall.optional().describe('On Debian and its relatives.'),
        rpm: RpmInstall.optional().describe('On base images with rpm packages, such as Fedora’s.'),
      })
      .default({})
      .describe('What it installs, by distribution family.'),
    health: LayerHealth.default([]).describe(
      'What must hold on a node that has this layer. `timeout` becomes seconds.',
    ),
  })
  .meta({ title: 'Ingot layer', description: 'A building block of images.' });
export type LayerDefinition = z.infer<typeof LayerDefinition>;

/** A definition as loaded: with its file, and a digest over the definition and the files it brings. */
export interface CatalogLayer {
  readonly definition: LayerDefinition;
  readonly file: string;
  readonly digest: Digest;
  /** `content` of every LayerFile of Debian's family but `product`s, `from` already read. Key: path in the image. */
  readonly contents: ReadonlyMap<string, string>;
  /** The text of the container's quadlet, with `{image}` in it. */
  readonly quadlet?: string;
  /** What it is on rpm, where it is anything there. */
  readonly rpm?: { readonly digest: Digest; readonly contents: ReadonlyMap<string, string> };
}

/**
 * A layer as images of a family have it. Each family has a digest of its own: what a layer installs on the one is
 * nothing to locks of the other.
 */
export function layerOn(layer: CatalogLayer, family: PackageFamily): CatalogLayer {
  const { rpm, definition } = layer;
  if (family === 'debian' || rpm === undefined) return layer;
  const health = definition.install.rpm?.health ?? definition.health;
  return { ...layer, ...rpm, definition: { ...definition, health } };
}

export interface Catalog {
  readonly layers: readonly CatalogLayer[];
  find(kind: LayerKind, name: string): CatalogLayer | undefined;
}
