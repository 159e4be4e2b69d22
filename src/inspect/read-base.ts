/** What an image to build on is: distribution, package database, kernel. Read from its layers as data. */
import { z } from 'zod';

import { IngotError } from '../errors.ts';
import { decompressLayer } from '../oci/layer-contents.ts';
import { TarParser, type ContentSink, type TarMember } from '../oci/tar-parser.ts';
import { LockedBaseImage } from '../resolve/lock.ts';
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
  /** dpkg's, of the family `debian`. */
  status: z.string().optional(),
});
export type BaseFacts = z.infer<typeof BaseFacts>;

const OS_RELEASE = ['usr/lib/os-release', 'etc/os-release'];
/** Where package databases are, the preferred place of each family first. */
const DATABASES = [
  { family: 'debian', file: 'usr/lib/sysimage/dpkg/status' },
  { family: 'debian', file: 'var/lib/dpkg/status' },
  { family: 'rpm', file: 'usr/lib/sysimage/rpm/rpmdb.sqlite' },
  { family: 'rpm', file: 'usr/share/rpm/rpmdb.sqlite' },
  { family: 'rpm', file: 'var/lib/rpm/rpmdb.sqlite' },
] as const;
const KERNEL = /^(?:usr\/)?lib\/modules\/([^/]+)\/vmlinuz$/;
const MAX_TEXT_BYTES = 32 * 1024 * 1024;

/** @throws IngotError IMAGE_UNREADABLE for what is no root of a Linux distribution, and what the image throws */
export async function readBase(image: ImageReader, signal?: AbortSignal): Promise<BaseFacts> {
  const diffIds = image.config.rootfs.diff_ids;
  if (diffIds.length !== image.layers.length || diffIds.length === 0) {
    throw noRoot(
      image,
      `it has ${image.layers.length} layers, and its configuration names ${diffIds.length}`,
    );
  }
  const files = new BaseFiles();
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
  const text = OS_RELEASE.map((path) => files.text(path)).find((one) => one !== undefined);
  if (text === undefined) throw noRoot(image, 'it has no /usr/lib/os-release');
  const database = DATABASES.find(({ file }) => files.text(file) !== undefined);
  const status = database?.family === 'debian' ? files.text(database.file) : undefined;
  return {
    architecture: image.config.architecture,
    layers: image.layers.flatMap(({ mediaType, digest, size }, index) => {
      const diffId = diffIds[index];
      return diffId === undefined ? [] : [{ mediaType, digest, size, diffId }];
    }),
    family: database?.family ?? 'none',
    ...(database !== undefined && { database: `/${database.file.replace(/\/[^/]*$/, '')}` }),
    id: osReleaseField(text, 'ID') ?? 'linux',
    release: osReleaseField(text, 'VERSION_ID') ?? '',
    kernels: files.kernels(),
    ...(status !== undefined && { status }),
  };
}

/** os-release(5): shell assignments, quoted or not. */
export function osReleaseField(text: string, name: string): string | undefined {
  const value = new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1]?.trim();
  return value?.replace(/^(["'])(.*)\1$/, '$2');
}

/** The files that tell, as the layers so far have them. */
class BaseFiles {
  readonly #files = new Map<string, string>();
  /** What this layer has brought, which its own removals leave alone. */
  readonly #fresh = new Set<string>();

  nextLayer(): void {
    this.#fresh.clear();
  }

  see({ path, type, size }: TarMember): ContentSink | undefined {
    const slash = path.lastIndexOf('/') + 1;
    const name = path.slice(slash);
    if (name === '.wh..wh..opq') this.#forget(path.slice(0, slash));
    else if (name.startsWith('.wh.')) this.#forget(`${path.slice(0, slash)}${name.slice(4)}`);
    const isKernel = KERNEL.test(path);
    const isText = OS_RELEASE.includes(path) || DATABASES.some(({ file }) => file === path);
    if (!isKernel && !isText) return undefined;
    this.#files.delete(path);
    if (type !== 'file' && type !== 'hardlink') return undefined;
    this.#fresh.add(path);
    this.#files.set(path, '');
    if (!isText || path.endsWith('.sqlite')) return undefined;
    if (size > MAX_TEXT_BYTES) throw new Error(`/${path} has ${size} bytes`);
    const chunks: Buffer[] = [];
    return {
      write: (bytes) => chunks.push(Buffer.from(bytes)),
      end: () => this.#files.set(path, Buffer.concat(chunks).toString('utf8')),
    };
  }

  text(path: string): string | undefined {
    return this.#files.get(path);
  }

  kernels(): string[] {
    return [...this.#files.keys()].flatMap((path) => KERNEL.exec(path)?.[1] ?? []).sort();
  }

  /** A path, or with a slash at its end all that is below it. */
  #forget(path: string): void {
    for (const file of this.#files.keys()) {
      if (this.#fresh.has(file)) continue;
      if (file === path || file.startsWith(path.endsWith('/') || path === '' ? path : `${path}/`)) {
        this.#files.delete(file);
      }
    }
  }
}

function noRoot({ shown }: ImageReader, what: string, cause?: unknown): IngotError {
  return new IngotError('IMAGE_UNREADABLE', `${shown} cannot be built on: ${what}`, {
    hint: 'a base is an image with the root of a Linux distribution',
    cause,
  });
}
