/** The entries of a layer, read as its bytes go by. What a layer may cost in memory is bounded. */
import { createHash } from 'node:crypto';

import { FILE_TYPES, type FileState, type LayerEntries } from '../compare/image-summary.ts';
import { RPM_DATABASE_FILE } from '../compare/rpm-packages.ts';
import { IngotError } from '../errors.ts';
import { decompressLayer } from '../oci/layer-contents.ts';
import { TarParser, type ContentSink, type TarMember } from '../oci/tar-parser.ts';
import type { ImageReader } from './image-reader.ts';
import type { Descriptor } from '../oci/schema.ts';

const MAX_ENTRIES = 2_000_000;
/** Names and link targets, all together. */
const MAX_NAME_BYTES = 256 * 1024 * 1024;
const MAX_TEXT_BYTES = 8 * 1024 * 1024;
const MAX_TEXTS_BYTES = 96 * 1024 * 1024;

/** All of it is one file, which has the lists of every package's files too. */
const MAX_RPM_DATABASE_BYTES = 256 * 1024 * 1024;

/** Files that tell more than their digest: package database, accounts, kernel arguments. */
const TOLD = [
  RPM_DATABASE_FILE,
  /^(?:usr\/lib\/sysimage|var\/lib)\/dpkg\/(?:status|info\/[^/]+\.list)$/,
  /^(?:usr\/)?etc\/(?:passwd|group)$/,
  /^usr\/lib\/bootc\/kargs\.d\/[^/]+\.toml$/,
];

export const DPKG_STATUS = /^(?:usr\/lib\/sysimage|var\/lib)\/dpkg\/status$/;

export function isTold(path: string): boolean {
  return TOLD.some((pattern) => pattern.test(path));
}

export interface ReadLayerOptions {
  readonly signal?: AbortSignal | undefined;
  /** Which entries to keep; all of them without it. */
  readonly keep?: ((path: string) => boolean) | undefined;
  /** Told the bytes of the blob that came in. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** @throws IngotError IMAGE_UNREADABLE for what is no layer, INTERRUPTED, and what the image throws */
export async function readLayer(
  image: Pick<ImageReader, 'shown' | 'blob'>,
  layer: Descriptor,
  { keep = () => true, ...options }: ReadLayerOptions = {},
): Promise<LayerEntries> {
  const collector = new Collector(keep);
  await parseLayer(image, layer, (member) => collector.see(member), options);
  return collector.layer;
}

/**
 * Shows each member of a layer's archive, and its contents to the sink that `see` answers with.
 *
 * @throws IngotError IMAGE_UNREADABLE for what is no layer, INTERRUPTED, and what the image and `see` throw
 */
export async function parseLayer(
  image: Pick<ImageReader, 'shown' | 'blob'>,
  layer: Descriptor,
  see: (member: TarMember) => ContentSink | undefined,
  { signal, onBytes }: Omit<ReadLayerOptions, 'keep'>,
): Promise<void> {
  const parser = new TarParser(see);
  const counted = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of image.blob(layer)) {
      if (signal?.aborted === true)
        throw new IngotError('INTERRUPTED', 'interrupted while reading the image');
      onBytes?.(chunk.length);
      yield chunk;
    }
  };
  try {
    for await (const chunk of decompressLayer(counted(), layer.mediaType)) parser.write(chunk);
    parser.end();
  } catch (error) {
    if (error instanceof IngotError) throw error;
    throw new IngotError(
      'IMAGE_UNREADABLE',
      `${image.shown}: the layer ${layer.digest} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { hint: 'copy or build the image again', cause: error },
    );
  }
}

class Collector {
  readonly #keep: (path: string) => boolean;
  readonly #entries = new Map<string, FileState>();
  readonly #whiteouts = new Set<string>();
  readonly #opaque = new Set<string>();
  readonly #texts = new Map<string, string>();
  #nameBytes = 0;
  #textBytes = 0;

  constructor(keep: (path: string) => boolean) {
    this.#keep = keep;
  }

  get layer(): LayerEntries {
    return {
      entries: this.#entries,
      whiteouts: this.#whiteouts,
      opaque: this.#opaque,
      texts: this.#texts,
    };
  }

  see(member: TarMember): ContentSink | undefined {
    const { path, type, target = '' } = member;
    const name = path.slice(path.lastIndexOf('/') + 1);
    this.#nameBytes += path.length + target.length;
    const count = this.#entries.size + this.#whiteouts.size + this.#opaque.size;
    if (count >= MAX_ENTRIES || this.#nameBytes > MAX_NAME_BYTES) {
      throw new Error(`it has more entries than a layer can sensibly have`);
    }
    if (name.startsWith('.wh.')) {
      const folder = path.slice(0, Math.max(0, path.length - name.length - 1));
      if (name === '.wh..wh..opq') this.#opaque.add(folder);
      else this.#whiteouts.add(folder === '' ? name.slice(4) : `${folder}/${name.slice(4)}`);
      return undefined;
    }
    if (!this.#keep(path)) return undefined;
    if (type === 'hardlink') {
      this.#link(path, target, member);
      return undefined;
    }
    this.#put(path, stateOf(member));
    return type === 'file' ? this.#contentOf(path, member) : undefined;
  }

  /** A later entry of the same name takes the place of an earlier one. */
  #put(path: string, state: FileState): void {
    this.#entries.set(path, state);
    this.#texts.delete(path);
  }

  /** Which of two names comes first in an archive is nobody's matter: both are the file. */
  #link(path: string, target: string, member: TarMember): void {
    const leads = target
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .join('/');
    const text = this.#texts.get(leads);
    this.#put(path, this.#entries.get(leads) ?? { ...stateOf(member), content: leads });
    if (text !== undefined) this.#texts.set(path, text);
  }

  #contentOf(path: string, member: TarMember): ContentSink {
    const hash = createHash('sha256');
    const isDatabase = RPM_DATABASE_FILE.test(path);
    const isText = isTold(path) && member.size <= (isDatabase ? MAX_RPM_DATABASE_BYTES : MAX_TEXT_BYTES);
    if (isText && !isDatabase) this.#textBytes += member.size;
    if (this.#textBytes > MAX_TEXTS_BYTES) throw new Error('its package database is larger than any can be');
    const chunks: Buffer[] = [];
    return {
      write: (bytes) => {
        hash.update(bytes);
        if (isText) chunks.push(Buffer.from(bytes));
      },
      end: () => {
        this.#entries.set(path, { ...stateOf(member), content: hash.digest('hex') });
        if (isText) this.#texts.set(path, Buffer.concat(chunks).toString(isDatabase ? 'latin1' : 'utf8'));
      },
    };
  }
}

function stateOf({ type, mode, uid, gid, size, target, device, xattrs }: TarMember): FileState {
  const content = target ?? (device === undefined ? undefined : device.join(':'));
  return {
    type: FILE_TYPES.find((known) => known === type) ?? 'other',
    mode,
    uid,
    gid,
    size,
    ...(content !== undefined && { content }),
    ...(xattrs.size > 0 && { attributes: attributesDigest(xattrs) }),
  };
}

function attributesDigest(xattrs: ReadonlyMap<string, Buffer>): string {
  const hash = createHash('sha256');
  for (const [name, value] of [...xattrs].sort(([left], [right]) => (left < right ? -1 : 1))) {
    hash.update(`${name.length} ${name} ${value.length} `).update(value);
  }
  return hash.digest('hex');
}
