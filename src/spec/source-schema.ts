/**
 * A zod schema applied to a source tree: its issues become findings at the place where the value was written.
 *
 * Messages in schemas continue a sentence. A pattern's message says what the value must be ("a name of …"), a
 * refinement's what is wrong with it ("is set by Ingot itself").
 */
import type * as z from 'zod';

import type { ErrorCode, Finding, Location } from '../errors.ts';
import {
  describeKind,
  keyLocationAt,
  locationAt,
  nodeAt,
  plainValue,
  quoted,
  type SourceNode,
  type SourcePath,
} from './source-tree.ts';
import { nearest } from './suggest.ts';

type Issue = z.core.$ZodIssue;

export interface SchemaFinding {
  readonly finding: Finding;
  readonly path: SourcePath;
  /** True when the finding is only that a value is not there. */
  readonly missing: boolean;
}

export type SchemaResult<T> =
  | { readonly value: T; readonly findings: readonly [] }
  | { readonly value: undefined; readonly findings: readonly SchemaFinding[] };

export function applySchema<T>(root: SourceNode, schema: z.ZodType<T>, code: ErrorCode): SchemaResult<T> {
  const result = schema.safeParse(plainValue(root));
  if (result.success) return { value: result.data, findings: [] };
  return {
    value: undefined,
    findings: result.error.issues.flatMap((issue) => findingsOf(issue, [], root, schema, code)),
  };
}

function findingsOf(
  issue: Issue,
  prefix: SourcePath,
  root: SourceNode,
  schema: z.ZodType,
  code: ErrorCode,
): SchemaFinding[] {
  const path = [...prefix, ...issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step))];
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, path);
    return issue.keys.map((key) => ({
      finding: {
        code,
        severity: 'error',
        message: `unknown key ${quoted(key)}${path.length === 0 ? '' : ` in ${pathText(path)}`}`,
        location: keyLocationAt(root, [...path, key]),
        ...suggesting(nearest(key, known)),
      },
      path: [...path, key],
      missing: false,
    }));
  }
  if (issue.code === 'invalid_union') {
    // The branch that the value's own type asks for explains the mistake; without one, none does.
    const branch = issue.errors.find((issues) => !issues.some(refusesType));
    if (branch !== undefined) return branch.flatMap((inner) => findingsOf(inner, path, root, schema, code));
  }
  const node = nodeAt(root, path);
  const missing = node === undefined;
  const described = missing ? { message: `${pathText(path)} is missing` } : describe(issue, path, node);
  const place = issue.code === 'invalid_key' ? keyLocationAt(root, path) : locationAt(root, path);
  const location = withOffset(place, issue, node);
  return [{ finding: { code, severity: 'error', ...described, location }, path, missing }];
}

/** A refinement may know the place within a text: `params.offset`, counted from 0. */
function withOffset(location: Location, issue: Issue, node: SourceNode | undefined): Location {
  const offset: unknown = issue.code === 'custom' ? issue.params?.['offset'] : undefined;
  if (typeof offset !== 'number' || node?.kind !== 'scalar') return location;
  const quote = /^['"]/.test(node.source) ? 1 : 0;
  return { ...location, column: location.column + quote + offset };
}

function refusesType(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value');
}

interface Description {
  readonly message: string;
  readonly suggestions?: readonly string[];
}

function describe(issue: Issue, path: SourcePath, node: SourceNode): Description {
  const subject = pathText(path);
  const shown =
    node.kind === 'scalar' && typeof node.value === 'string' ? quoted(node.value) : describeKind(node);
  switch (issue.code) {
    case 'invalid_type': {
      const wanted = typeNames[issue.expected] ?? issue.expected;
      const mend = issue.expected === 'string' ? asText(node) : '';
      return { message: `${subject} must be ${wanted}, not ${describeKind(node)}${mend}` };
    }
    case 'invalid_union':
      return {
        message: `${subject} must be ${unionTypes(issue)}, not ${describeKind(node)}${numberAsText(node)}`,
      };
    case 'invalid_value': {
      const values = issue.values.map(String);
      const near = node.kind === 'scalar' ? nearest(String(node.value), values) : [];
      return { message: `${subject} must be ${orList(values)}, not ${shown}`, ...suggesting(near) };
    }
    case 'too_small':
      return issue.origin === 'number' || issue.origin === 'int'
        ? { message: `${subject} must be at least ${String(issue.minimum)}` }
        : { message: `${subject} must not be empty` };
    case 'too_big':
      return issue.origin === 'number' || issue.origin === 'int'
        ? { message: `${subject} must be at most ${String(issue.maximum)}` }
        : { message: `${subject} is longer than ${String(issue.maximum)}` };
    case 'invalid_format':
      return { message: `${subject} must be ${issue.message}, not ${shown}` };
    case 'invalid_key':
      return {
        message: `the key ${quoted(String(path.at(-1)))} in ${pathText(path.slice(0, -1))} must be ${issue.issues[0]?.message ?? issue.message}`,
      };
    case 'custom':
    case 'invalid_element':
    case 'not_multiple_of':
    case 'unrecognized_keys':
      return { message: `${subject} ${issue.message}` };
  }
}

/** YAML takes 6.10 for a number and drops the zero; the text as written is what was meant. */
function asText(node: SourceNode): string {
  return node.kind === 'scalar' && node.value !== null ? `; write ${JSON.stringify(node.source)}` : '';
}

function numberAsText(node: SourceNode): string {
  return node.kind === 'scalar' && typeof node.value === 'number' ? asText(node) : '';
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

function unionTypes(issue: z.core.$ZodIssueInvalidUnion): string {
  const names = issue.errors
    .flat()
    .map((inner) => (inner.code === 'invalid_type' ? typeNames[inner.expected] : undefined))
    .filter((name) => name !== undefined);
  return orList([...new Set(names)]);
}

/** `users[0].name`, as a person would say it. */
export function pathText(path: SourcePath): string {
  if (path.length === 0) return 'the file';
  return path.reduce<string>(
    (text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`),
    '',
  );
}

function orList(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`;
}

function suggesting(suggestions: readonly string[]): { readonly suggestions?: readonly string[] } {
  return suggestions.length === 0 ? {} : { suggestions };
}

/** Keys that the schema knows at a path, through lists, records, defaults, options and pipes. */
function knownKeys(schema: z.ZodType, path: SourcePath): string[] {
  let current: z.core.$ZodType[] = [schema];
  for (const step of path) {
    current = current.flatMap(openings).flatMap((type) => {
      const definition = (type as z.core.$ZodTypes)._zod.def;
      if (definition.type === 'object') {
        const member = definition.shape[String(step)];
        return member === undefined ? [] : [member];
      }
      if (definition.type === 'array') return [definition.element];
      if (definition.type === 'record') return [definition.valueType];
      return [];
    });
  }
  return current.flatMap(openings).flatMap((type) => {
    const definition = (type as z.core.$ZodTypes)._zod.def;
    return definition.type === 'object' ? Object.keys(definition.shape) : [];
  });
}

function openings(type: z.core.$ZodType): z.core.$ZodType[] {
  const definition = (type as z.core.$ZodTypes)._zod.def;
  if ('innerType' in definition) return openings(definition.innerType);
  if (definition.type === 'pipe') return openings(definition.in);
  if (definition.type === 'union') return definition.options.flatMap(openings);
  return [type];
}
