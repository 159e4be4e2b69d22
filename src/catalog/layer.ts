/**
 * A layer definition: a named building block of the catalogue, in `layers/<kind>/<name>.yaml`.
 * The zod schemas parse and normalise; each shares its name with the type it infers.
 */
import { z } from 'zod';

import type { Digest } from '../digest.ts';

export const LayerKind = z.enum(['base', 'kernel', 'driver', 'cuda', 'runtime', 'agent', 'addon']);
export type LayerKind = z.infer<typeof LayerKind>;

const name = z.string().regex(/^[a-z][a-z0-9.+-]*$/, 'lower-case letters, digits, and . + -');

/** A file the layer puts into the image. Exactly one of `content` and `from` (a file beside the definition). */
export const LayerFile = z
  .strictObject({
    path: z.string().regex(/^\/(usr|etc)\//, 'an absolute path under /usr or /etc'),
    content: z.string().optional(),
    from: z.string().optional(),
    mode: z
      .string()
      .regex(/^0?[0-7]{3,4}$/, 'octal permission bits such as "0644"')
      .transform((text) => Number.parseInt(text, 8))
      .default(0o644),
  })
  .refine((file) => (file.content === undefined) !== (file.from === undefined), {
    message: 'give either content or from',
  });
export type LayerFile = z.infer<typeof LayerFile>;

export const LayerUnit = z.strictObject({
  name: z
    .string()
    .regex(/^[\w@:.\\-]+\.(service|socket|target|timer|path|mount)$/, 'a unit name with its suffix'),
  enabled: z.boolean().optional(),
  masked: z.boolean().default(false),
});
export type LayerUnit = z.infer<typeof LayerUnit>;

/** What a layer installs on one distribution family. */
export const LayerInstall = z.strictObject({
  packages: z.array(z.string()).default([]),
  files: z.array(LayerFile).default([]),
  units: z.array(LayerUnit).default([]),
  kernelArguments: z.array(z.string()).default([]),
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
  suite: z.string(),
  archives: z.array(Archive).min(1),
  /** False for suites whose indexes are routinely past their Valid-Until (testing snapshots, sid). */
  checkValidUntil: z.boolean().default(true),
});
export type Release = z.infer<typeof Release>;

export const LayerDefinition = z.strictObject({
  name,
  kind: LayerKind,
  summary: z.string().min(1),
  /** Layers that must be below this one. */
  needs: z.array(z.string()).default([]),
  provides: z.array(z.string()).default([]),
  /** Base layers only: releases by number. */
  releases: z.record(z.string(), Release).optional(),
  /** Base layers only: the release that `base: debian` means. */
  defaultRelease: z.string().optional(),
  install: z.partialRecord(z.enum(['debian']), LayerInstall).default({}),
  health: z
    .array(
      z.strictObject({
        name: z.string(),
        run: z.string(),
        timeout: z
          .string()
          .regex(/^[1-9]\d{0,4}[sm]$/, 'a time such as 60s or 2m')
          .transform((text) => Number.parseInt(text, 10) * (text.endsWith('m') ? 60 : 1))
          .prefault('30s'),
      }),
    )
    .default([]),
});
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
