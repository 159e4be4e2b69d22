/** The rules of docs/architecture.md about who may import whom, as a function over a set of files. */
import { posix } from 'node:path';

import { readSourceFacts } from './imports.ts';

/** From the top down. Folders on one line are siblings; `x.ts` stands for a file directly in `src/`. */
const ORDER: readonly (readonly string[])[] = [
  ['main.ts', 'node-main.ts'],
  ['cli'],
  ['ci', 'fleet', 'workload'],
  ['inspect'],
  ['node', 'disk'],
  ['ostree'],
  ['publish'],
  ['delta'],
  ['build'],
  ['audit'],
  ['compare', 'sbom'],
  ['plan'],
  ['resolve'],
  ['packages', 'agent'],
  ['store'],
  ['trust'],
  ['catalog', 'oci', 'hardware'],
  ['spec'],
  ['tools'],
  ['proc', 'report'],
  ['digest.ts', 'errors.ts'],
];

const PURE_FOLDERS: ReadonlySet<string> = new Set(['resolve', 'plan', 'compare', 'sbom', 'audit', 'trust']);
/** What a pure module may import from Node.js: computation alone. */
const PURE_MODULES: ReadonlySet<string> = new Set([
  'node:crypto',
  'node:path',
  'node:path/posix',
  'node:url',
  'node:util',
]);
const STARTS_PROCESSES: ReadonlySet<string> = new Set(['execa', 'child_process', 'node:child_process']);
const MAX_LINES = 400;
/** A table of cases may be longer. */
const MAX_TEST_LINES = 600;
const VAGUE_NAMES = /(?:^|-)(?:helpers?|utils?|common|manager|misc)(?:-|$)/;

/**
 * Every broken rule, one line each, naming the file.
 *
 * @param files text by path relative to `src/`, with forward slashes
 */
export function findViolations(files: ReadonlyMap<string, string>): readonly string[] {
  return [...files].flatMap(([path, text]) =>
    violationsOf(path, text, files).map((violation) => `${path}: ${violation}`),
  );
}

function violationsOf(path: string, text: string, files: ReadonlyMap<string, string>): string[] {
  const facts = readSourceFacts(path, text);
  const isTest = path.endsWith('.test.ts');
  const folder = folderOf(path);
  const violations: string[] = [];

  if (rankOf(folder) === undefined) violations.push(`${folder} has no place in the order of folders`);
  for (const segment of path.split('/')) {
    const name = segment.replace(/(?:\.test)?\.ts$/, '');
    if (!/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name)) violations.push(`${segment} is not kebab-case`);
    if (VAGUE_NAMES.test(name)) violations.push(`${segment} says nothing about what is in it`);
  }
  if (facts.hasDefaultExport) violations.push('has a default export');
  const maxLines = isTest ? MAX_TEST_LINES : MAX_LINES;
  if (facts.lines > maxLines) violations.push(`has ${facts.lines} lines, more than ${maxLines}`);

  for (const specifier of facts.imports) {
    if (specifier.startsWith('.')) {
      violations.push(...relativeImportViolations(path, specifier, files, isTest));
    } else if (STARTS_PROCESSES.has(specifier) && folder !== 'proc') {
      violations.push(`imports ${specifier}: only proc/ starts processes`);
    }
  }
  if (PURE_FOLDERS.has(folder) && !isTest) {
    for (const [file, specifier] of impureLoads(path, files)) {
      const through = file === path ? '' : ` through ${file}`;
      violations.push(`loads ${specifier}${through}: ${folder}/ is pure`);
    }
    for (const impurity of facts.impurities) violations.push(`uses ${impurity}: ${folder}/ is pure`);
  }
  return violations;
}

/** Everything of Node.js that runs when a file is loaded and is more than computation, with the file that asks. */
function impureLoads(path: string, files: ReadonlyMap<string, string>): (readonly [string, string])[] {
  const found: (readonly [string, string])[] = [];
  const seen = new Set<string>([path]);
  for (const file of seen) {
    for (const specifier of readSourceFacts(file, files.get(file) ?? '').loads) {
      if (specifier.startsWith('.')) seen.add(posix.normalize(posix.join(posix.dirname(file), specifier)));
      else if (STARTS_PROCESSES.has(specifier)) found.push([file, specifier]);
      else if (specifier.startsWith('node:') && !PURE_MODULES.has(specifier)) found.push([file, specifier]);
    }
  }
  return found;
}

function relativeImportViolations(
  path: string,
  specifier: string,
  files: ReadonlyMap<string, string>,
  isTest: boolean,
): string[] {
  const target = posix.normalize(posix.join(posix.dirname(path), specifier));
  if (!specifier.endsWith('.ts')) return [`imports ${specifier} without its .ts`];
  if (target.startsWith('..')) {
    return isTest ? [] : [`imports ${specifier}, which is outside of src/`];
  }
  if (!files.has(target)) return [`imports ${specifier}, which does not exist`];
  if (!isTest && target.endsWith('.test.ts')) return [`imports the test ${specifier}`];
  const from = folderOf(path);
  const to = folderOf(target);
  if (from === to) return [];
  const [fromRank, toRank] = [rankOf(from), rankOf(to)];
  if (fromRank === undefined || toRank === undefined || fromRank < toRank) return [];
  return [`imports ${specifier}: ${from} is ${fromRank === toRank ? 'a sibling of' : 'below'} ${to}`];
}

/** The folder directly below `src/`, or the file itself. */
function folderOf(path: string): string {
  return path.split('/')[0] ?? path;
}

function rankOf(folder: string): number | undefined {
  const rank = ORDER.findIndex((line) => line.includes(folder));
  return rank === -1 ? undefined : rank;
}
