/** Reads what the documentation says, so that tests can hold it against the program. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommanderError, type Command } from 'commander';

import { COMMANDS } from '../../src/cli/commands.ts';
import type { Bind } from '../../src/cli/context.ts';
import { createRootCommand, PRODUCT_ROOT } from '../../src/cli/root-command.ts';

export interface Document {
  /** Relative to the product's folder. */
  readonly path: string;
  readonly text: string;
}

export interface Block {
  readonly language: string;
  readonly text: string;
  /** Of its first line, 1-based. */
  readonly line: number;
}

/** Every Markdown file of the product. */
export function loadDocuments(): readonly Document[] {
  return ['', 'docs'].flatMap((folder) =>
    readdirSync(join(PRODUCT_ROOT, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => loadDocument(join(folder, name))),
  );
}

export function loadDocument(path: string): Document {
  return { path, text: readFileSync(join(PRODUCT_ROOT, path), 'utf8') };
}

export function fencedBlocks(text: string): readonly Block[] {
  return [...text.matchAll(/^ *```(\w*)\n(.*?)^ *```$/gms)].map((match) => ({
    language: match[1] ?? '',
    text: match[2] ?? '',
    line: text.slice(0, match.index).split('\n').length + 1,
  }));
}

/** Markdown without its fenced blocks; lines keep their numbers. */
export function proseOf(text: string): string {
  return text.replaceAll(/^ *```.*?^ *```$/gms, (block) => block.replaceAll(/[^\n]/g, ''));
}

/** Text in single backticks. It may go on over the end of a line. */
export function codeSpans(text: string): readonly string[] {
  return [...proseOf(text).matchAll(/`([^`]+)`/g)].map((match) => (match[1] ?? '').replaceAll(/\s+/g, ' '));
}

export interface Section {
  readonly title: string;
  readonly text: string;
}

/** Sections of the second level. */
export function sectionsOf(text: string): readonly Section[] {
  return text
    .split(/^## /m)
    .slice(1)
    .map((part) => ({ title: part.split('\n', 1)[0] ?? '', text: part }));
}

/** Cells of the rows of every table whose first column has this title. */
export function tableRows(text: string, firstColumn: string): readonly (readonly string[])[] {
  const rows: string[][] = [];
  let inside = false;
  for (const line of text.split('\n')) {
    // A bar that belongs to a cell is written \|.
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
    if (cells.length === 0) inside = false;
    else if (cells[0] === firstColumn) inside = true;
    else if (inside && !/^:?-+:?$/.test(cells[0] ?? '')) rows.push(cells);
  }
  return rows;
}

export function withoutBackticks(cell: string | undefined): string {
  return (cell ?? '').replaceAll('`', '');
}

/** As GitHub names a heading. */
export function anchorsOf(text: string): ReadonlySet<string> {
  const headings = [...proseOf(text).matchAll(/^#+ (.+)$/gm)].map((match) => match[1] ?? '');
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** Targets of links and pictures that are not on another host. */
export function localLinks(text: string): readonly string[] {
  return [...proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^[a-z]+:/.test(target));
}

/** The command lines of a shell block: every line, or in a `console` block those after a prompt. */
export function shellLines(block: Block): readonly string[] {
  const lines = block.text.replaceAll('\\\n', ' ').split('\n');
  if (block.language === 'sh') return lines;
  return block.language === 'console'
    ? lines.filter((line) => /^[$#] /.test(line)).map((line) => line.slice(2))
    : [];
}

/** Arguments of `ingot` in a shell line, or undefined when it runs something else. */
export function ingotArguments(line: string): readonly string[] | undefined {
  const words = (line.match(/"[^"]*"|'[^']*'|[^\s'"]+/g) ?? []).map((word) => word.replaceAll(/["']/g, ''));
  while (/^(?:\w+=.*|sudo|npx)$/.test(words[0] ?? '')) words.shift();
  if (!/^(?:bin\/)?ingot$/.test(words[0] ?? '')) return undefined;
  const end = words.findIndex((word) => /^(?:[|;#]|&&|\d?>|\d<)/.test(word));
  return words.slice(1, end === -1 ? undefined : end);
}

/** The whole command tree, whose commands do nothing. */
export async function commandTree(): Promise<Command> {
  const doNothing: Bind = () => () => Promise.resolve();
  const program = createRootCommand().configureOutput({
    writeOut: () => undefined,
    writeErr: () => undefined,
  });
  for (const load of COMMANDS.values()) program.addCommand((await load())(doNothing));
  const inherit = (command: Command): void => {
    for (const child of command.commands) {
      child.copyInheritedSettings(command);
      inherit(child);
    }
  };
  inherit(program);
  return program;
}

/** What commander has against a command line, or undefined. */
export async function complaintAbout(args: readonly string[]): Promise<CommanderError | undefined> {
  const program = await commandTree();
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? undefined : error;
  }
  return undefined;
}

/** Commands that do something, with their names below `ingot`. */
export function leafCommands(command: Command, above: readonly string[] = []): ReadonlyMap<string, Command> {
  return new Map(
    command.commands.flatMap((child) => {
      const path = [...above, child.name()];
      // One with arguments of its own is a command, whatever is below it.
      const own = child.commands.length === 0 || child.registeredArguments.length > 0;
      return [...(own ? [[path.join(' '), child] as const] : []), ...leafCommands(child, path)];
    }),
  );
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly additionalProperties?: SchemaNode | boolean;
  readonly propertyNames?: { readonly enum?: readonly string[] };
}

/** Paths of all values that a JSON Schema allows and that have no members of their own: `users[].name`. */
export function schemaKeys(schema: unknown): ReadonlySet<string> {
  const keys = new Set<string>();
  const visit = (node: SchemaNode, path: string): void => {
    const below = (name: string): string => (path === '' ? name : `${path}.${name}`);
    const open = typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined;
    const members = {
      ...node.properties,
      ...Object.fromEntries(
        (node.propertyNames?.enum ?? ['*']).flatMap((name) => (open ? [[name, open]] : [])),
      ),
    };
    for (const [name, member] of Object.entries(members)) {
      keys.add(below(name));
      visit(member, below(name));
    }
    if (node.items !== undefined) visit(node.items, `${path}[]`);
    for (const choice of node.anyOf ?? []) visit(choice, path);
  };
  visit(schema as SchemaNode, '');
  return keys;
}
