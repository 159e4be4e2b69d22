/** Reads one file of facts: its sources and rows, each with its place. */
import { join } from 'node:path';
import type * as z from 'zod';

import { IngotError, type Finding, type Location } from '../../errors.ts';
import { applySchema } from '../../spec/source-schema.ts';
import { readSourceText } from '../../spec/source-text.ts';
import {
  keyLocationAt,
  locationAt,
  parseSource,
  type SourceMapping,
  type SourcePath,
} from '../../spec/source-tree.ts';
import { nearest } from '../../spec/suggest.ts';
import type { RowInput } from './schema.ts';
import type { Row, Source } from './types.ts';

const CODES = { unreadable: 'FACTS_INVALID', invalid: 'FACTS_INVALID' } as const;

type SourcesInput = Readonly<Record<string, { readonly title: string; readonly url?: string }>>;

/** A row's own members, and what every row has. */
export type Placed<R extends RowInput> = Omit<R, keyof RowInput> & Row;

export class FactReader {
  readonly findings: Finding[] = [];
  /** Everything that was read, by file, for the digest. */
  readonly values = new Map<string, unknown>();
  private readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** @returns undefined when the file is wrong; `findings` say how */
  async read<T extends { readonly sources: SourcesInput }>(
    name: string,
    schema: z.ZodType<T>,
  ): Promise<FactTable<T> | undefined> {
    const file = join(this.folder, name);
    let tree: SourceMapping | undefined;
    try {
      const text = await readSourceText(file, file, CODES);
      const { root, findings } = parseSource({ file, text }, 'FACTS_INVALID');
      this.findings.push(...findings);
      tree = root;
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      this.report(error.message, error.location);
    }
    if (tree === undefined) return undefined;
    const { value, findings } = applySchema(tree, schema, 'FACTS_INVALID');
    this.findings.push(...findings.map(({ finding }) => finding));
    if (value === undefined) return undefined;
    this.values.set(name, value);
    return new FactTable(value, tree, this);
  }

  report(message: string, location?: Location, suggestions: readonly string[] = []): void {
    this.findings.push({
      code: 'FACTS_INVALID',
      severity: 'error',
      message,
      ...(location !== undefined && { location }),
      ...(suggestions.length > 0 && { suggestions }),
    });
  }
}

export class FactTable<T extends { readonly sources: SourcesInput }> {
  readonly value: T;
  private readonly tree: SourceMapping;
  private readonly reader: FactReader;

  constructor(value: T, tree: SourceMapping, reader: FactReader) {
    this.value = value;
    this.tree = tree;
    this.reader = reader;
  }

  /** The rows of one list, each with its sources resolved. */
  rows<R extends RowInput>(key: keyof T & string, rows: readonly R[]): Placed<R>[] {
    return rows.map((input, index) => {
      const { source, confidence, note, ...members } = input;
      return {
        ...members,
        sources: this.sourcesOf(source, [key, index]),
        confidence,
        ...(note !== undefined && { note }),
        location: locationAt(this.tree, [key, index]),
      };
    });
  }

  private sourcesOf(keys: readonly string[], path: SourcePath): Source[] {
    return keys.flatMap((key) => {
      const found = this.value.sources[key];
      if (found !== undefined) return [{ key, ...found }];
      this.reader.report(
        `${JSON.stringify(key)} is not in the \`sources\` of this file`,
        keyLocationAt(this.tree, [...path, 'source']),
        nearest(key, Object.keys(this.value.sources)),
      );
      return [];
    });
  }
}
