/**
 * A layer definition: a named building block of the catalogue, in `layers/<kind>/<name>.yaml`.
 * The zod schemas parse and normalise; each shares its name with the type it infers.
 */
import { z } from 'zod';

import type { Digest } from '../digest.ts';
import { FileMode, FilePath, HealthInput, KernelArgument, UnitName } from '../spec/schema.ts';
import { secondsOf } from '../spec/normalise.ts';

export const LayerKind = z.enum(['base', 'kernel', 'driver', 'cuda', 'runtime', 'agent', 'addon']);
export type LayerKind = z.infer<typeof LayerKind>;

const name = z.string().regex(/^[a-z][a-z0-9.+-]*$/, 'lower-case letters, digits, and . + -');

export const PackageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'a Debian package name');

/** A file the layer puts into the image. Exactly one of `content` and `from` (a file in the layer's own folder). */
export const LayerFile = z
  .strictObject({
    path: FilePath.describe('Absolute path in the image, under /usr or /etc.'),
    content: z.string().optional().describe('The whole text of the file.'),
    from: z
      .string()
      .regex(/^[^/\0][^\0]*$/, 'a path relative to the folder of the layer')
      .optional()
      .describe('A file in the folder beside the definition that has its name.'),
    mode: FileMode.transform((text) => Number.parseInt(text, 8))
      .prefault('0644')
      .describe('Octal permission bits, in quotes.'),
  })
  .refine((file) => (file.content === undefined) !== (file.from === undefined), {
    message: 'needs either content or from',
  });
export type LayerFile = z.infer<typeof LayerFile>;

export const LayerUnit = z.strictObject({
  name: UnitName,
  enabled: z.boolean().optional().describe('Default: as the distribution presets it.'),
  masked: z.boolean().default(false).describe('True makes the unit impossible to start.'),
});
export type LayerUnit = z.infer<typeof LayerUnit>;

/** What a layer installs on one distribution family. */
export const LayerInstall = z.strictObject({
  packages: z.array(PackageName).default([]).describe('Debian packages.'),
  files: z.array(LayerFile).default([]).describe('Files to put into the image.'),
  units: z.array(LayerUnit).default([]).describe('systemd units to enable, disable or mask.'),
  kernelArguments: z.array(KernelArgument).default([]).describe('For the kernel command line.'),
});
export type LayerInstall = z.infer<typeof LayerInstall>;

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
      .describe('Layers that must be below this one: `base`, `kernel`, or the names of addons.'),
    provides: z.array(z.string()).default([]).describe('What other layers may ask for.'),
    releases: z.record(z.string(), Release).optional().describe('Bases only: releases by number.'),
    defaultRelease: z
      .string()
      .optional()
      .describe('Bases only: the release that the name alone means, as in `base: debian`.'),
    install: z
      .partialRecord(z.enum(['debian']), LayerInstall)
      .default({})
      .describe('What it installs, by distribution family.'),
    health: z
      .array(
        HealthInput.extend({
          timeout: HealthInput.shape.timeout.unwrap().transform(secondsOf).prefault('30s'),
        }),
      )
      .default([])
      .describe('What must hold on a node that has this layer. `timeout` becomes seconds.'),
  })
  .meta({ title: 'Ingot layer', description: 'A building block of images.' });
export type LayerDefinition = z.infer<typeof LayerDefinition>;

/** A definition as loaded: with its file, and a digest over the definition and the files it brings. */
export interface CatalogLayer {
  readonly definition: LayerDefinition;
  readonly file: string;
  readonly digest: Digest;
  /** `content` of every LayerFile of the family, `from` already read. Key: path in the image. */
  readonly contents: ReadonlyMap<string, string>;
}

export interface Catalog {
  readonly layers: readonly CatalogLayer[];
  find(kind: LayerKind, name: string): CatalogLayer | undefined;
}
