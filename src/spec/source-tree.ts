/**
 * YAML as a tree in which every value knows where it was written: declarations and layer definitions are both
 * read through it, so that a finding can name file, line and column also after `extends` has merged two files.
 *
 * YAML 1.2 core schema, one document per file, mappings with text keys, unique in their mapping. Aliases share
 * their target and are bounded, so a small file cannot become a large value.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Node,
  type ParsedNode,
} from 'yaml';

import type { ErrorCode, Finding, Location } from '../errors.ts';

export const MAX_SOURCE_BYTES = 1024 * 1024;
const MAX_DEPTH = 64;
const MAX_EXPANDED_NODES = 100_000;
const MAX_SYNTAX_FINDINGS = 5;

interface Placed {
  /** Where the value begins. */
  readonly at: Location;
  /** Values in this one, itself included, with every alias counted as if it were written out. */
  readonly size: number;
}

export interface SourceScalar extends Placed {
  readonly kind: 'scalar';
  readonly value: string | number | boolean | null;
  /** As written, for "put it in quotes". */
  readonly source: string;
}

export interface SourceList extends Placed {
  readonly kind: 'list';
  readonly items: readonly SourceNode[];
}

export interface SourceMember {
  readonly keyAt: Location;
  readonly value: SourceNode;
}

export interface SourceMapping extends Placed {
  readonly kind: 'mapping';
  readonly members: ReadonlyMap<string, SourceMember>;
}

export type SourceNode = SourceScalar | SourceList | SourceMapping;
export type SourcePath = readonly (string | number)[];

export interface SourceText {
  /** As findings name it. */
  readonly file: string;
  readonly text: string;
}

export interface ParsedSource {
  /** Undefined when the text is not YAML at all. */
  readonly root: SourceMapping | undefined;
  readonly findings: readonly Finding[];
}

/** Reads text whose top is a mapping. Never throws: whatever is wrong is a finding under `code`. */
export function parseSource(source: SourceText, code: ErrorCode): ParsedSource {
  const findings: Finding[] = [];
  const text = source.text.replace(/^\uFEFF/, '');
  const lines = new LineCounter();
  const place = (offset: number): Location => {
    const { line, col } = lines.linePos(Math.min(Math.max(offset, 0), text.length));
    return { file: source.file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const report = (message: string, location: Location): void => {
    findings.push({ code, severity: 'error', message, location });
  };

  const top: Location = { file: source.file, line: 1, column: 1 };
  if (Buffer.byteLength(text) > MAX_SOURCE_BYTES) {
    report(`the file is larger than ${MAX_SOURCE_BYTES / 1024 / 1024} MiB`, top);
    return { root: undefined, findings };
  }

  let document;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      uniqueKeys: false, // checked below, together with everything else
      strict: true,
      version: '1.2',
      schema: 'core',
    });
  } catch (error) {
    // The parser descends once per level of nesting.
    if (!(error instanceof RangeError)) throw error;
    report('values are nested too deeply', top);
    return { root: undefined, findings };
  }
  // One slip makes the parser stumble on: the first error of a line says it.
  const seenLines = new Set<number>();
  for (const problem of [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0])) {
    const location = place(problem.pos[0]);
    if (seenLines.has(location.line) || seenLines.size >= MAX_SYNTAX_FINDINGS) continue;
    seenLines.add(location.line);
    report(`not valid YAML: ${lowerFirst(problem.message)}`, location);
  }
  if (findings.length > 0) return { root: undefined, findings };

  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    report('the file is empty', top);
    return { root: undefined, findings };
  }
  const root = new Converter(place, report, text).convert(document.contents, top, 0);
  if (root.kind !== 'mapping') {
    report(`the file must be a mapping of keys to values, not ${describeKind(root)}`, root.at);
    return { root: undefined, findings };
  }
  return { root, findings };
}

class Converter {
  private readonly anchors = new Map<string, SourceNode | 'open'>();
  private readonly place: (offset: number) => Location;
  private readonly report: (message: string, location: Location) => void;
  private readonly text: string;

  constructor(
    place: (offset: number) => Location,
    report: (message: string, location: Location) => void,
    text: string,
  ) {
    this.place = place;
    this.report = report;
    this.text = text;
  }

  convert(node: ParsedNode | Node | null, fallback: Location, depth: number): SourceNode {
    const at = node?.range ? this.place(node.range[0]) : fallback;
    const nothing: SourceScalar = { kind: 'scalar', value: null, source: '', at, size: 1 };
    if (node === null) return nothing;
    if (depth > MAX_DEPTH) {
      this.report('values are nested too deeply', at);
      return nothing;
    }
    if (isAlias(node)) return this.target(node.source, at) ?? nothing;

    const anchor = isScalar(node) || isMap(node) || isSeq(node) ? node.anchor : undefined;
    if (anchor !== undefined) this.anchors.set(anchor, 'open');
    let result: SourceNode;
    if (isMap(node)) {
      result = this.mapping(node.items as Parameters<Converter['mapping']>[0], at, depth);
    } else if (isSeq(node)) {
      const items = node.items.map((item) => this.convert(item as ParsedNode, at, depth + 1));
      result = { kind: 'list', items, at, size: sizeOf(items) };
    } else if (isScalar(node)) {
      result = this.scalar(node.value, this.textOf(node), at);
    } else {
      return nothing;
    }
    if (anchor !== undefined) this.anchors.set(anchor, result);
    return this.bounded(result, nothing);
  }

  private mapping(
    pairs: readonly { readonly key: ParsedNode; readonly value: ParsedNode | null }[],
    at: Location,
    depth: number,
  ): SourceMapping {
    const members = new Map<string, SourceMember>();
    for (const { key, value } of pairs) {
      const keyAt = key.range[0] >= 0 ? this.place(key.range[0]) : at;
      const written = this.convert(value, keyAt, depth + 1);
      // A value that was left out has no place of its own.
      const converted =
        written.kind === 'scalar' && written.source === '' ? { ...written, at: keyAt } : written;
      const name = isScalar(key) && key.value !== null ? this.keyText(key) : undefined;
      if (name === undefined) this.report('a key must be text', keyAt);
      else if (members.has(name)) this.report(`the key ${quoted(name)} is given twice`, keyAt);
      // An object of JavaScript cannot hold it as data.
      else if (name === '__proto__') this.report(`unknown key ${quoted(name)}`, keyAt);
      else members.set(name, { keyAt, value: converted });
    }
    return { kind: 'mapping', members, at, size: sizeOf([...members.values()].map(({ value }) => value)) };
  }

  private keyText(key: { readonly value: unknown; readonly range?: unknown }): string {
    return typeof key.value === 'string' ? key.value : this.textOf(key);
  }

  private scalar(value: unknown, source: string, at: Location): SourceScalar {
    if (typeof value === 'string' && !value.isWellFormed()) {
      this.report('the text holds half of a surrogate pair', at);
      return { kind: 'scalar', value: '', source, at, size: 1 };
    }
    const plain =
      typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
    return { kind: 'scalar', value: plain, source, at, size: 1 };
  }

  private textOf(node: { readonly range?: unknown }): string {
    if (!Array.isArray(node.range)) return '';
    const [start, end] = node.range as [number, number];
    return this.text.slice(start, end);
  }

  private target(name: string, at: Location): SourceNode | undefined {
    const target = this.anchors.get(name);
    if (target === undefined) this.report(`there is no anchor ${quoted(name)} before this alias`, at);
    if (target !== 'open') return target;
    this.report(`the alias ${quoted(name)} refers to itself`, at);
    return undefined;
  }

  private bounded(node: SourceNode, nothing: SourceScalar): SourceNode {
    if (node.size <= MAX_EXPANDED_NODES) return node;
    this.report('aliases or lists make this value too large', node.at);
    return nothing;
  }
}

function sizeOf(nodes: readonly SourceNode[]): number {
  return nodes.reduce((sum, node) => sum + node.size, 1);
}

/** The value as JavaScript holds it. Objects have no prototype. */
export function plainValue(node: SourceNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'list':
      return node.items.map(plainValue);
    case 'mapping': {
      const plain = Object.create(null) as Record<string, unknown>;
      for (const [key, { value }] of node.members) plain[key] = plainValue(value);
      return plain;
    }
  }
}

/** The value at a path, or undefined where there is none. */
export function nodeAt(root: SourceNode, path: SourcePath): SourceNode | undefined {
  let node: SourceNode | undefined = root;
  for (const step of path) {
    if (node.kind === 'mapping') node = node.members.get(String(step))?.value;
    else if (node.kind === 'list' && typeof step === 'number') node = node.items[step];
    else return undefined;
    if (node === undefined) return undefined;
  }
  return node;
}

/** Where the value at a path begins; where it is missing, its nearest parent's place. */
export function locationAt(root: SourceNode, path: SourcePath): Location {
  for (let length = path.length; length >= 0; length--) {
    const node = nodeAt(root, path.slice(0, length));
    if (node !== undefined) return node.at;
  }
  return root.at;
}

/** Where the last key of a path is written; for a list entry or a missing key, as `locationAt`. */
export function keyLocationAt(root: SourceNode, path: SourcePath): Location {
  const parent = nodeAt(root, path.slice(0, -1));
  const key = path.at(-1);
  const member =
    parent?.kind === 'mapping' && key !== undefined ? parent.members.get(String(key)) : undefined;
  return member?.keyAt ?? locationAt(root, path);
}

/** "a list", "text", … for messages. */
export function describeKind(node: SourceNode): string {
  if (node.kind === 'list') return 'a list';
  if (node.kind === 'mapping') return 'a mapping';
  if (typeof node.value === 'string') return 'text';
  if (typeof node.value === 'number') return 'a number';
  return node.value === null ? 'nothing' : 'true or false';
}

/** A user's word in a message: quoted, escaped, and cut to a readable length. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
