/**
 * `Packages` files, searchable by name and version.
 *
 * They are tens of megabytes with sixty thousand stanzas, of which a lock needs a few hundred. So a table says where
 * each stanza lies: one line each, in the order of names, searched by halves as it lies in memory. Made once for what
 * was downloaded and kept beside it, so that neither the files are read whole again nor sixty thousand values are made.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

import { compareDebVersions, isDebVersion } from './deb-version.ts';
import { parseStanza, type Stanza } from './stanzas.ts';

/** A text of stanzas, where one byte is one character, and the archive that it came from. */
export interface IndexSource {
  readonly archive: string;
  /** Of another release: its packages are found by name and version, and in no other way. */
  readonly foreign?: true;
  /** All of it, or a part. */
  read(start?: number, end?: number): string;
}

/** A file that stays as it is for as long as it is read. */
export function sourceOfFile(archive: string, file: string, foreign?: true): IndexSource {
  return {
    archive,
    ...(foreign !== undefined && { foreign }),
    read: (start, end) => {
      if (start === undefined || end === undefined) return readFileSync(file, 'latin1');
      const part = Buffer.alloc(end - start);
      const opened = openSync(file, 'r');
      try {
        return part.toString('latin1', 0, readSync(opened, part, 0, part.length, start));
      } finally {
        closeSync(opened);
      }
    },
  };
}

export function sourceOfText(archive: string, text: string, foreign?: true): IndexSource {
  const bytes = Buffer.from(text);
  return {
    archive,
    ...(foreign !== undefined && { foreign }),
    read: (start, end) => bytes.toString('latin1', start, end),
  };
}

/** Where stanzas lie. */
export interface IndexTable {
  /**
   * A line for each: name, version, number of the source, first byte, byte after the last, divided by tabs. In name
   * order, and those of one name in the order of the sources.
   */
  readonly lines: Buffer;
  /** Names of packages that are `Essential: yes`, in name order. */
  readonly essential: readonly string[];
}

interface Entry {
  readonly version: string;
  readonly source: number;
  readonly start: number;
  readonly end: number;
}

export interface IndexedStanza {
  readonly archive: string;
  readonly foreign: boolean;
  readonly stanza: Stanza;
}

const NEWLINE = 0x0a;
const TAB = 0x09;

export class PackageIndex {
  readonly #sources: readonly IndexSource[];
  readonly #found = new Map<string, readonly Entry[]>();
  readonly #read = new Map<Entry, IndexedStanza>();
  readonly table: IndexTable;

  /** @param table as it was made of these very sources before */
  constructor(sources: readonly IndexSource[], table = makeTable(sources)) {
    this.#sources = sources;
    this.table = table;
  }

  /** In name order. Looks at every line. */
  *names(): Generator<string> {
    let last: string | undefined;
    for (const [name, entry] of this.#allEntries()) {
      if (this.#isForeign(entry)) continue;
      if (name !== last) yield name;
      last = name;
    }
  }

  has(name: string, version?: string): boolean {
    const entries = this.#ownEntries(name);
    return version === undefined ? entries.length > 0 : entries.some((entry) => entry.version === version);
  }

  /** The same of archives of other releases. */
  hasForeign(name: string, version: string): boolean {
    return this.#entries(name).some((entry) => this.#isForeign(entry) && entry.version === version);
  }

  /** Names of packages that any of these archives has, in name order. Looks at every line. */
  namesIn(archives: ReadonlySet<string>): string[] {
    const numbers = new Set(
      this.#sources.flatMap(({ archive, foreign }, number) =>
        archives.has(archive) && foreign !== true ? [number] : [],
      ),
    );
    if (numbers.size === 0) return [];
    const names = new Set<string>();
    for (const [name, { source }] of this.#allEntries()) if (numbers.has(source)) names.add(name);
    return [...names];
  }

  /** Every version of a package, newest first, each once; with `from`, of archives of which that is true. */
  versions(name: string, from: (archive: string) => boolean = () => true): string[] {
    const entries = this.#ownEntries(name).filter(({ source }) => from(this.#sources[source]?.archive ?? ''));
    const versions = [...new Set(entries.map((entry) => entry.version))];
    return versions.sort((left, right) =>
      isDebVersion(left) && isDebVersion(right) ? compareDebVersions(right, left) : 0,
    );
  }

  /** The stanza of exactly this version; of several archives the first that was given, of other releases the last. */
  find(name: string, version: string): IndexedStanza | undefined {
    const entries = this.#entries(name).filter((candidate) => candidate.version === version);
    const entry = entries.find((candidate) => !this.#isForeign(candidate)) ?? entries[0];
    const source = entry === undefined ? undefined : this.#sources[entry.source];
    if (entry === undefined || source === undefined) return undefined;
    const known = this.#read.get(entry);
    if (known !== undefined) return known;
    const { archive, foreign = false } = source;
    const stanza = parseStanza(source.read(entry.start, entry.end));
    const found: IndexedStanza = { archive, foreign, stanza };
    this.#read.set(entry, found);
    return found;
  }

  /** Names of packages that are `Essential: yes`, in name order. */
  essentialNames(): readonly string[] {
    return this.table.essential;
  }

  /** Names of packages whose Provides has `name`. Looks at every stanza: for error messages only. */
  providersOf(name: string): string[] {
    const pattern = new RegExp(
      `^Provides:(?:.*[ ,])?${name.replaceAll(/[.+]/g, String.raw`\$&`)}(?:[ ,(]|$)`,
      'gm',
    );
    const found = new Set<string>();
    for (const source of this.#sources) {
      if (source.foreign === true) continue;
      const text = source.read();
      for (const match of text.matchAll(pattern)) {
        const before = text.lastIndexOf('\n\n', match.index);
        const provider = fieldIn(text, 'Package', before === -1 ? 0 : before + 2, match.index);
        if (provider !== undefined) found.add(provider);
      }
    }
    return [...found].sort();
  }

  #isForeign({ source }: Entry): boolean {
    return this.#sources[source]?.foreign === true;
  }

  #ownEntries(name: string): readonly Entry[] {
    return this.#entries(name).filter((entry) => !this.#isForeign(entry));
  }

  /** In the order of the sources. */
  #entries(name: string): readonly Entry[] {
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const entries: Entry[] = [];
    const { lines } = this.table;
    for (let at = this.#firstLine(name); at < lines.length && nameAt(lines, at) === name;) {
      const end = endOfLine(lines, at);
      entries.push(parseLine(lines.toString('latin1', at, end))[1]);
      at = end + 1;
    }
    this.#found.set(name, entries);
    return entries;
  }

  /** Where the first line begins whose name is not before this one. */
  #firstLine(name: string): number {
    const { lines } = this.table;
    let low = 0;
    let high = lines.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      // The byte before the middle may be the newline that the middle's line begins after.
      const start = middle === 0 ? 0 : lines.lastIndexOf(NEWLINE, middle - 1) + 1;
      if (nameAt(lines, start) < name) low = endOfLine(lines, start) + 1;
      else high = start;
    }
    return low;
  }

  *#allEntries(): Generator<readonly [string, Entry]> {
    for (const line of this.table.lines.toString('latin1').split('\n'))
      if (line !== '') yield parseLine(line);
  }
}

function nameAt(lines: Buffer, start: number): string {
  return lines.toString('latin1', start, lines.indexOf(TAB, start));
}

function endOfLine(lines: Buffer, start: number): number {
  const newline = lines.indexOf(NEWLINE, start);
  return newline === -1 ? lines.length : newline;
}

function parseLine(line: string): readonly [string, Entry] {
  const [name = '', version = '', source, start, end] = line.split('\t');
  return [name, { version, source: Number(source), start: Number(start), end: Number(end) }];
}

function makeTable(sources: readonly IndexSource[]): IndexTable {
  const entries: { readonly name: string; readonly line: string }[] = [];
  const essential = new Set<string>();
  for (const [number, source] of sources.entries()) {
    // One byte, one character: places in the text are places in the file.
    const text = source.read();
    let start = 0;
    while (start < text.length) {
      const blank = text.indexOf('\n\n', start);
      const end = blank === -1 ? text.length : blank + 1;
      const name = fieldIn(text, 'Package', start, end);
      const version = fieldIn(text, 'Version', start, end);
      // A name or version with a tab in it is none, and nothing else asks for one.
      if (name !== undefined && version !== undefined && !`${name}${version}`.includes('\t')) {
        entries.push({ name, line: `${[name, version, number, start, end].join('\t')}\n` });
      }
      start = end + 1;
    }
    if (source.foreign === true) continue;
    for (const match of text.matchAll(/^Essential: yes$/gm)) {
      const before = text.lastIndexOf('\n\n', match.index);
      const name = fieldIn(text, 'Package', before === -1 ? 0 : before + 2, match.index);
      if (name !== undefined) essential.add(name);
    }
  }
  // Stable: those of one name stay in the order of the sources.
  entries.sort((left, right) => (left.name < right.name ? -1 : left.name > right.name ? 1 : 0));
  const lines = Buffer.from(entries.map(({ line }) => line).join(''), 'latin1');
  return { lines, essential: [...essential].sort() };
}

/** Value of a one-line field between two offsets of a text, without copying the text. */
function fieldIn(text: string, field: string, start: number, end: number): string | undefined {
  const label = `${field}: `;
  let at = start;
  if (!text.startsWith(label, start)) {
    const found = text.indexOf(`\n${label}`, start);
    if (found === -1 || found >= end) return undefined;
    at = found + 1;
  }
  const newline = text.indexOf('\n', at);
  return text.slice(at + label.length, newline === -1 ? end : Math.min(newline, end)).trim();
}
