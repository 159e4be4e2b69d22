/** What an image to build on is: distribution, package database, kernel. Read from its layers as data. */
import * as z from 'zod';

import { digestOf, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { decompressLayer } from '../oci/layer-contents.ts';
import { TarParser } from '../oci/tar-parser.ts';
import { RPM_DATABASE, RPM_DATABASE_FOLDERS } from '../packages/rpm/rpm-database.ts';
import { LockedBaseImage } from '../resolve/lock.ts';
import { armourKeyring } from '../tools/apt.ts';
import { BaseFiles } from './base-files.ts';
import type { ImageReader } from './image-reader.ts';

export const BaseFacts = z.strictObject({
  architecture: z.string(),
  layers: LockedBaseImage.shape.layers,
  family: LockedBaseImage.shape.family,
  database: z.string().optional(),
  /** ID and VERSION_ID of os-release(5). */
  id: z.string(),
  release: z.string(),
  /** `uname -r` of each kernel that it has. */
  kernels: z.array(z.string()),
  /** VERSION_CODENAME of os-release(5), such as `noble`. */
  codename: z.string().optional(),
  /** dpkg's, of the family `debian`. */
  status: z.string().optional(),
  /** What says where packages of the family `debian` come from, by path; keyrings are in ASCII armour. */
  apt: z
    .strictObject({
      sources: z.record(z.string(), z.string()),
      keyrings: z.record(z.string(), z.string()),
    })
    .optional(),
  /** Of the family `rpm`. */
  rpm: z
    .strictObject({
      /** Files of the package database. They are blobs of the store. */
      database: z.array(z.strictObject({ name: z.string(), sha256: z.string() })),
      /** What says where packages come from, by path: repositories, their keys, variables in them. */
      configuration: z.record(z.string(), z.string()),
    })
    .optional(),
});
export type BaseFacts = z.infer<typeof BaseFacts>;

/** A base as it was read: what is too large for a record stands beside it. */
export interface ReadBase {
  readonly facts: BaseFacts;
  /** Contents of the files of rpm's database, by SHA-256. */
  readonly blobs: ReadonlyMap<string, Buffer>;
}

const OS_RELEASE = ['usr/lib/os-release', 'etc/os-release'];
/** Where package databases are, the preferred place of each family first. */
const DATABASES = [
  { family: 'debian', file: 'usr/lib/sysimage/dpkg/status' },
  { family: 'debian', file: 'var/lib/dpkg/status' },
  ...RPM_DATABASE_FOLDERS.map((folder) => ({ family: 'rpm' as const, file: `${folder}/${RPM_DATABASE}` })),
] as const;
/** What is not yet written back to the database, where a machine was not shut down in order. */
const WRITE_AHEAD_LOG = '-wal';
const CONFIGURATION = [
  /^etc\/yum\.repos\.d\/[^/]+\.repo$/,
  /^etc\/pki\/rpm-gpg\/[^/]+$/,
  /^etc\/(?:dnf|yum)\/vars\/[^/]+$/,
];
const APT_SOURCES = /^etc\/apt\/(?:sources\.list|sources\.list\.d\/[\w.-]+\.(?:list|sources))$/;
const APT_KEYRINGS =
  /^(?:etc\/apt\/trusted\.gpg|(?:etc\/apt\/(?:keyrings|trusted\.gpg\.d)|usr\/share\/keyrings)\/[^/]+\.(?:gpg|asc|pgp))$/;
const KERNEL = /^(?:usr\/)?lib\/modules\/([^/]+)\/vmlinuz$/;
const MAX_TEXT_BYTES = 32 * 1024 * 1024;
const MAX_DATABASE_BYTES = 512 * 1024 * 1024;

function kindOf(path: string): 'content' | 'presence' | undefined {
  if (KERNEL.test(path)) return 'presence';
  const isDatabase = DATABASES.some(
    ({ family, file }) => path === file || (family === 'rpm' && path === `${file}${WRITE_AHEAD_LOG}`),
  );
  if (isDatabase || OS_RELEASE.includes(path)) return 'content';
  const isConfiguration = [...CONFIGURATION, APT_SOURCES, APT_KEYRINGS].some((pattern) => pattern.test(path));
  return isConfiguration ? 'content' : undefined;
}

function limitOf(path: string): number {
  return path.includes(RPM_DATABASE) ? MAX_DATABASE_BYTES : MAX_TEXT_BYTES;
}

/** @throws IngotError IMAGE_UNREADABLE for what is no root of a Linux distribution, and what the image throws */
export async function readBase(image: ImageReader, signal?: AbortSignal): Promise<ReadBase> {
  const diffIds = image.config.rootfs.diff_ids;
  if (diffIds.length !== image.layers.length || diffIds.length === 0) {
    throw noRoot(
      image,
      `it has ${image.layers.length} layers, and its configuration names ${diffIds.length}`,
    );
  }
  const files = new BaseFiles({ kindOf, limitOf });
  await readLayers(image, files, signal);
  // What ostree has packed has its contents under other names, which just now turned out to matter.
  if (files.expectTargets()) await readLayers(image, files, signal);
  const text = OS_RELEASE.map((path) => files.text(path)).find((one) => one !== undefined);
  if (text === undefined) throw noRoot(image, 'it has no /usr/lib/os-release');
  const database = DATABASES.find(({ file }) => files.content(file) !== undefined);
  const status = database?.family === 'debian' ? files.text(database.file) : undefined;
  const rpm = database?.family === 'rpm' ? rpmOf(files, database.file) : undefined;
  const codename = osReleaseField(text, 'VERSION_CODENAME');
  const facts = {
    architecture: image.config.architecture,
    layers: image.layers.flatMap(({ mediaType, digest, size }, index) => {
      const diffId = diffIds[index];
      return diffId === undefined ? [] : [{ mediaType, digest, size, diffId }];
    }),
    family: database?.family ?? 'none',
    ...(database !== undefined && { database: `/${database.file.replace(/\/[^/]*$/, '')}` }),
    id: osReleaseField(text, 'ID') ?? 'linux',
    release: osReleaseField(text, 'VERSION_ID') ?? '',
    kernels: files.paths().flatMap((path) => KERNEL.exec(path)?.[1] ?? []),
    ...(codename !== undefined && { codename }),
    ...(status !== undefined && { status, apt: aptOf(files) }),
    ...(rpm !== undefined && { rpm: rpm.facts }),
  };
  return { facts: BaseFacts.parse(facts), blobs: rpm?.blobs ?? new Map() };
}

async function readLayers(image: ImageReader, files: BaseFiles, signal?: AbortSignal): Promise<void> {
  for (const layer of image.layers) {
    files.nextLayer();
    const parser = new TarParser((member) => files.see(member));
    try {
      for await (const chunk of decompressLayer(image.blob(layer), layer.mediaType)) {
        if (signal?.aborted === true)
          throw new IngotError('INTERRUPTED', 'interrupted while reading the base');
        parser.write(chunk);
      }
      parser.end();
    } catch (error) {
      if (error instanceof IngotError) throw error;
      throw noRoot(
        image,
        `${layer.digest}: ${error instanceof Error ? error.message : String(error)}`,
        error,
      );
    }
  }
}

function rpmOf(
  files: BaseFiles,
  database: string,
): { readonly facts: NonNullable<BaseFacts['rpm']>; readonly blobs: ReadonlyMap<string, Buffer> } {
  const blobs = new Map<string, Buffer>();
  const found = ['', WRITE_AHEAD_LOG].flatMap((suffix) => {
    const content = files.content(`${database}${suffix}`);
    if (content === undefined || content.length === 0) return [];
    const sha256 = hexOf(digestOf(content));
    blobs.set(sha256, content);
    return [{ name: `${RPM_DATABASE}${suffix}`, sha256 }];
  });
  const configuration = files.paths().flatMap((path): [string, string][] => {
    const isOne = CONFIGURATION.some((pattern) => pattern.test(path));
    const text = isOne ? files.text(path) : undefined;
    return text === undefined ? [] : [[path, text]];
  });
  return { facts: { database: found, configuration: Object.fromEntries(configuration) }, blobs };
}

function aptOf(files: BaseFiles): NonNullable<BaseFacts['apt']> {
  const contents = (pattern: RegExp): [string, Buffer][] =>
    files.paths().flatMap((path): [string, Buffer][] => {
      const content = pattern.test(path) ? files.content(path) : undefined;
      return content === undefined ? [] : [[path, content]];
    });
  return {
    sources: Object.fromEntries(contents(APT_SOURCES).map(([path, content]) => [path, content.toString()])),
    keyrings: Object.fromEntries(
      contents(APT_KEYRINGS).map(([path, content]) => [path, armourKeyring(content)]),
    ),
  };
}

/** os-release(5): shell assignments, quoted or not. */
export function osReleaseField(text: string, name: string): string | undefined {
  const value = new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1]?.trim();
  return value?.replace(/^(["'])(.*)\1$/, '$2');
}

function noRoot({ shown }: ImageReader, what: string, cause?: unknown): IngotError {
  return new IngotError('IMAGE_UNREADABLE', `${shown} cannot be built on: ${what}`, {
    hint: 'a base is an image with the root of a Linux distribution',
    cause,
  });
}
