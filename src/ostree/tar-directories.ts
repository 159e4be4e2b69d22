/**
 * Reads the directory headers of a tar archive and passes over everything else.
 *
 * A commit does not tell directories that the archive has from those that were made for a file to lie in: where layers
 * are laid over each other, only the former change the mode and owner of one that is there.
 */
import { Writable } from 'node:stream';

import { TarParser } from '../oci/tar-parser.ts';

export interface DirectoryHeader {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The directories of an archive, and, in its order, the paths of everything else. */
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
