/**
 * Reads the directory headers of a tar archive and passes over everything else.
 *
 * ostree ignores the mode and owner that an upper layer gives a directory which a lower layer already has; the
 * headers say what they should be. Whiteouts: OCI image spec, "Layer filesystem changeset".
 */
import { Writable } from 'node:stream';

import { TarParser } from '../oci/tar-parser.ts';

export interface DirectoryHeader {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The state of the directories after the layers seen so far: path relative to the root, without slashes at its
 * ends, to the header that counts. Entries that a later layer hides or replaces are gone.
 */
export class DirectoryHeaders {
  readonly #headers = new Map<string, DirectoryHeader>();

  get all(): ReadonlyMap<string, DirectoryHeader> {
    return this.#headers;
  }

  /** Lays a layer over what was seen so far. */
  lay({ directories, others }: LayerDirectories): void {
    for (const path of others) this.#sawOther(path);
    for (const { path, header } of directories) this.#headers.set(path, header);
  }

  /** Something that is not a directory: it may replace or hide one. */
  #sawOther(path: string): void {
    const slash = path.lastIndexOf('/');
    const folder = path.slice(0, Math.max(slash, 0));
    const name = path.slice(slash + 1);
    if (!name.startsWith('.wh.')) {
      if (this.#headers.has(path)) this.#forget(path, true);
    } else if (name === '.wh..wh..opq') {
      this.#forget(folder, false);
    } else {
      this.#forget(folder === '' ? name.slice(4) : `${folder}/${name.slice(4)}`, true);
    }
  }

  #forget(path: string, itself: boolean): void {
    for (const known of this.#headers.keys()) {
      if ((itself && known === path) || known.startsWith(path === '' ? '' : `${path}/`)) {
        if (known !== '') this.#headers.delete(known);
      }
    }
  }
}

/**
 * What an archive does to the directories of the layers below it. `others` is everything that is not a directory,
 * in the order of the archive: an opaque whiteout hides what lower layers have wherever it stands, so these come
 * first.
 */
export interface LayerDirectories {
  readonly directories: readonly { readonly path: string; readonly header: DirectoryHeader }[];
  readonly others: readonly string[];
}

/** A sink for one layer's plain archive. Its `error` is about an archive that cannot be read. */
export class TarDirectoryReader extends Writable implements LayerDirectories {
  readonly directories: { readonly path: string; readonly header: DirectoryHeader }[] = [];
  readonly others: string[] = [];
  readonly #parser: TarParser;

  constructor() {
    super();
    this.#parser = new TarParser(({ path, type, mode, uid, gid }) => {
      if (type === 'directory') this.directories.push({ path, header: { mode, uid, gid } });
      else this.others.push(path);
      return undefined;
    });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    try {
      this.#parser.write(chunk);
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  override _final(done: (error?: Error) => void): void {
    try {
      this.#parser.end();
      done();
    } catch (error) {
      done(error as Error);
    }
  }
}
