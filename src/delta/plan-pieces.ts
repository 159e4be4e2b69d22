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

/** Of files whose paths differ in numbers alone, so many are looked at for one that is new. */
const MOST_CANDIDATES = 64;

interface Similar {
  readonly source: Source;
  readonly numbers: readonly string[];
}

/** Files of old layers, by what their paths have in common with those of new ones. */
export class OldFiles {
  readonly #byPath = new Map<string, Source>();
  /** By the path without its numbers; and by that and the last of them. */
  readonly #similar = new Map<string, Similar[]>();

  /** Of layers that have the same file, that of the first counts. */
  add(layer: Digest, files: readonly ArchiveFile[]): void {
    for (const { path, size, offset } of files) {
      if (size === 0 || this.#byPath.has(path)) continue;
      const source = { layer, path, offset: 0, size, begin: offset };
      this.#byPath.set(path, source);
      const numbers = numbersOf(path);
      const one = { source, numbers };
      for (const key of [similarPath(path), `${similarPath(path)} ${numbers.at(-1) ?? ''}`]) {
        const others = this.#similar.get(key);
        if (others === undefined) this.#similar.set(key, [one]);
        else if (others.length < MOST_CANDIDATES) others.push(one);
      }
    }
  }

  /**
   * The file of that path; else, of those that other numbers in the path tell from it, the one that has most numbers in
   * common, and of these the one nearest in size.
   */
  find({ path, size }: Pick<ArchiveFile, 'path' | 'size'>): Source | undefined {
    const same = this.#byPath.get(path);
    if (same !== undefined) return same;
    const numbers = numbersOf(path);
    const key = similarPath(path);
    const candidates = this.#similar.get(`${key} ${numbers.at(-1) ?? ''}`) ?? this.#similar.get(key) ?? [];
    let best: { readonly source: Source; readonly common: number; readonly distance: number } | undefined;
    for (const { source, numbers: others } of candidates) {
      const common = others.filter((number, index) => number === numbers[index]).length;
      const distance = Math.abs(source.size - size);
      const isBetter =
        best === undefined || common > best.common || (common === best.common && distance < best.distance);
      if (isBetter) best = { source, common, distance };
    }
    return best?.source;
  }
}

const NUMBER = /\d+(?:\.\d+)*/g;

/** `nvidia/535.261.03/gsp_ga10x.bin` is `nvidia/#/gsp_ga#x.bin`, as is that of every other release. */
export function similarPath(path: string): string {
  return path.replaceAll(NUMBER, '#');
}

function numbersOf(path: string): readonly string[] {
  return path.match(NUMBER) ?? [];
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
  /** Paths of what is in `from`. */
  const told = new Set<string>();
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
    told.clear();
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
    // It is in the dictionary, whoever asked for it.
    if (source === undefined || told.has(source.path)) continue;
    told.add(source.path);
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
