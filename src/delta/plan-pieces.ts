/** Which files of old layers a new archive is told in terms of. */
import type { Digest } from '../digest.ts';
import { MAX_DICTIONARY_BYTES, MAX_PIECE_BYTES, type Piece, type Source } from './format.ts';

/** The content of a file in an archive. */
export interface ArchiveFile {
  /** Relative to the root, without slashes at its ends. */
  readonly path: string;
  /** From the beginning of the archive. */
  readonly offset: number;
  readonly size: number;
}

/** Files of old layers, by what their paths have in common with those of new ones. */
export class OldFiles {
  readonly #byPath = new Map<string, Source>();
  readonly #bySimilarPath = new Map<string, Source[]>();

  /** Of layers that have the same file, that of the first counts. */
  add(layer: Digest, files: readonly ArchiveFile[]): void {
    for (const { path, size } of files) {
      if (size === 0 || this.#byPath.has(path)) continue;
      const source = { layer, path, offset: 0, size };
      this.#byPath.set(path, source);
      const similar = similarPath(path);
      const others = this.#bySimilarPath.get(similar);
      if (others === undefined) this.#bySimilarPath.set(similar, [source]);
      else others.push(source);
    }
  }

  /** The file of that path; else, of those that other numbers in the path tell from it, the one nearest in size. */
  find({ path, size }: Pick<ArchiveFile, 'path' | 'size'>): Source | undefined {
    const same = this.#byPath.get(path);
    if (same !== undefined) return same;
    const similar = this.#bySimilarPath.get(similarPath(path)) ?? [];
    const distance = (source: Source): number => Math.abs(source.size - size);
    return similar.reduce<Source | undefined>(
      (best, source) => (best === undefined || distance(source) < distance(best) ? source : best),
      undefined,
    );
  }
}

/** `nvidia/535.261.03/gsp_ga10x.bin` is `nvidia/#/gsp_ga#x.bin`, as is that of every other release. */
export function similarPath(path: string): string {
  return path.replaceAll(/\d+(?:\.\d+)*/g, '#');
}

/**
 * Cuts an archive into pieces and gives each its sources. Whole files are gathered until a piece is full; a file that is
 * larger than a piece is cut, and each cut gets what stands about the same place in the old file.
 *
 * @param files of the archive, in its order
 * @param size bytes of the archive
 */
export function planPieces(files: readonly ArchiveFile[], size: number, old: OldFiles): readonly Piece[] {
  const pieces: Piece[] = [];
  let begin = 0;
  let from: Source[] = [];
  let fromBytes = 0;
  const cutAt = (end: number): void => {
    // What stands between large files, such as links without end, has no sources.
    while (end - begin > MAX_PIECE_BYTES) {
      pieces.push({ offset: begin, size: MAX_PIECE_BYTES, from });
      begin += MAX_PIECE_BYTES;
      from = [];
    }
    if (end > begin) pieces.push({ offset: begin, size: end - begin, from });
    begin = end;
    from = [];
    fromBytes = 0;
  };
  for (const file of files) {
    const source = old.find(file);
    const end = file.offset + file.size;
    if (file.size > MAX_PIECE_BYTES) {
      cutAt(file.offset);
      while (begin < end) {
        const part = { offset: begin - file.offset, size: Math.min(MAX_PIECE_BYTES, end - begin) };
        if (source !== undefined) from = [sourceOfPart(source, part, file.size)];
        cutAt(begin + part.size);
      }
      continue;
    }
    const sourceBytes = source === undefined ? 0 : Math.min(source.size, MAX_DICTIONARY_BYTES);
    if (end - begin > MAX_PIECE_BYTES || fromBytes + sourceBytes > MAX_DICTIONARY_BYTES) cutAt(file.offset);
    if (source === undefined || source.size === 0) continue;
    from.push({ ...source, size: sourceBytes });
    fromBytes += sourceBytes;
  }
  cutAt(size);
  return pieces;
}

/** All of the old file where that is possible, else what stands about where the part stands in the new one. */
function sourceOfPart(
  source: Source,
  part: { readonly offset: number; readonly size: number },
  fileSize: number,
): Source {
  if (source.size <= MAX_DICTIONARY_BYTES) return source;
  const middle = Math.round(((part.offset + part.size / 2) / fileSize) * source.size);
  const last = source.size - MAX_DICTIONARY_BYTES;
  const offset = Math.max(0, Math.min(last, middle - MAX_DICTIONARY_BYTES / 2));
  return { ...source, offset, size: MAX_DICTIONARY_BYTES };
}
