/**
 * Debian control stanzas, as in `Packages` indexes and dpkg's status file (deb822(5)).
 *
 * A `Packages` index is tens of megabytes of which a lock needs a few hundred stanzas, so `PackageIndex` notes
 * where each stanza lies and parses only what is asked for. Its notes can be kept for the next time.
 */
import { z } from 'zod';

import { compareDebVersions, isDebVersion } from './deb-version.ts';

/** Fields of one stanza, by lower-case name. A field of several lines keeps its newlines. */
export type Stanza = ReadonlyMap<string, string>;

/** Parses one stanza. Lines that are not fields are skipped, comments too. */
export function parseStanza(text: string): Stanza {
  const fields = new Map<string, string>();
  let current: string | undefined;
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith(' ') || line.startsWith('\t')) {
      if (current !== undefined) fields.set(current, `${fields.get(current) ?? ''}\n${line.slice(1)}`);
      continue;
    }
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    current = line.slice(0, colon).toLowerCase();
    fields.set(current, line.slice(colon + 1).trim());
  }
  return fields;
}

/** All stanzas of a control file, in order. */
export function parseStanzas(text: string): Stanza[] {
  return text
    .split(/\n(?:[ \t]*\n)+/)
    .map(parseStanza)
    .filter((stanza) => stanza.size > 0);
}

interface Entry {
  readonly version: string;
  readonly source: number;
  readonly start: number;
  readonly end: number;
}

/** A text of stanzas and the archive it came from. */
export interface IndexSource {
  readonly archive: string;
  readonly data: Buffer;
}

/** Where stanzas lie. */
export const IndexTable = z.strictObject({
  /** Name, version, number of the source, first byte, byte after the last; and so on. In the order of the sources. */
  entries: z.custom<readonly (string | number)[]>((value) => Array.isArray(value) && value.length % 5 === 0),
  /** Names of packages that are `Essential: yes`, in name order. */
  essential: z.array(z.string()),
});
export type IndexTable = z.infer<typeof IndexTable>;

export interface IndexedStanza {
  readonly archive: string;
  readonly stanza: Stanza;
}

/** Several `Packages` files, searchable by name and version. */
export class PackageIndex {
  readonly #sources: readonly IndexSource[];
  readonly #entries = new Map<string, Entry[]>();
  readonly table: IndexTable;

  /** @param table as it was made of these very sources before */
  constructor(sources: readonly IndexSource[], table = makeTable(sources)) {
    this.#sources = sources;
    this.table = table;
    const { entries } = table;
    for (let at = 0; at < entries.length; at += 5) {
      const name = String(entries[at]);
      const entry: Entry = {
        version: String(entries[at + 1]),
        source: Number(entries[at + 2]),
        start: Number(entries[at + 3]),
        end: Number(entries[at + 4]),
      };
      const others = this.#entries.get(name);
      if (others === undefined) this.#entries.set(name, [entry]);
      else others.push(entry);
    }
  }

  names(): IterableIterator<string> {
    return this.#entries.keys();
  }

  has(name: string, version?: string): boolean {
    const entries = this.#entries.get(name);
    return entries !== undefined && (version === undefined || entries.some((e) => e.version === version));
  }

  /** Names of packages that any of these archives has, in name order. */
  namesIn(archives: ReadonlySet<string>): string[] {
    const numbers = new Set(
      this.#sources.flatMap(({ archive }, number) => (archives.has(archive) ? [number] : [])),
    );
    if (numbers.size === 0) return [];
    return [...this.#entries]
      .filter(([, entries]) => entries.some(({ source }) => numbers.has(source)))
      .map(([name]) => name)
      .sort();
  }

  /** Every version of a package, newest first, each once; with `from`, of archives of which that is true. */
  versions(name: string, from: (archive: string) => boolean = () => true): string[] {
    const entries = (this.#entries.get(name) ?? []).filter(({ source }) =>
      from(this.#sources[source]?.archive ?? ''),
    );
    const versions = [...new Set(entries.map((entry) => entry.version))];
    return versions.sort((left, right) =>
      isDebVersion(left) && isDebVersion(right) ? compareDebVersions(right, left) : 0,
    );
  }

  /** The stanza of exactly this version; of several archives, the first that was given. */
  find(name: string, version: string): IndexedStanza | undefined {
    const entry = this.#entries.get(name)?.find((candidate) => candidate.version === version);
    const source = entry === undefined ? undefined : this.#sources[entry.source];
    if (entry === undefined || source === undefined) return undefined;
    return {
      archive: source.archive,
      stanza: parseStanza(source.data.toString('latin1', entry.start, entry.end)),
    };
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
    for (const { data } of this.#sources) {
      const text = data.toString('latin1');
      for (const match of text.matchAll(pattern)) {
        const before = text.lastIndexOf('\n\n', match.index);
        const provider = fieldIn(text, 'Package', before === -1 ? 0 : before + 2, match.index);
        if (provider !== undefined) found.add(provider);
      }
    }
    return [...found].sort();
  }
}

function makeTable(sources: readonly IndexSource[]): IndexTable {
  const entries: (string | number)[] = [];
  const essential = new Set<string>();
  for (const [number, { data }] of sources.entries()) {
    // One byte, one character: places in the text are places in the file.
    const text = data.toString('latin1');
    let start = 0;
    while (start < text.length) {
      const blank = text.indexOf('\n\n', start);
      const end = blank === -1 ? text.length : blank + 1;
      const name = fieldIn(text, 'Package', start, end);
      const version = fieldIn(text, 'Version', start, end);
      if (name !== undefined && version !== undefined) entries.push(name, version, number, start, end);
      start = end + 1;
    }
    for (const match of text.matchAll(/^Essential: yes$/gm)) {
      const before = text.lastIndexOf('\n\n', match.index);
      const name = fieldIn(text, 'Package', before === -1 ? 0 : before + 2, match.index);
      if (name !== undefined) essential.add(name);
    }
  }
  return { entries, essential: [...essential].sort() };
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
