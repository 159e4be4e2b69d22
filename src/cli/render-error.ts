/** Errors as people and as programs read them. */
import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

import { FindingsError, IngotError, type Finding, type Location } from '../errors.ts';
import { formatCount } from '../report/format.ts';
import type { Palette } from '../report/palette.ts';
import { renderFrame } from '../spec/source-frame.ts';

export interface RenderErrorOptions {
  readonly palette: Palette;
  /** Files below it are named relative to it. */
  readonly cwd: string;
  /** Shows the chain of causes too. */
  readonly verbose: boolean;
}

/** Text for stderr, with a newline at the end. Anything but an IngotError is a bug and shown with its stack. */
export function renderError(error: unknown, options: RenderErrorOptions): string {
  if (error instanceof FindingsError) return renderFindings(error.findings, options);
  if (error instanceof IngotError) return renderIngotError(error, options);
  const { palette } = options;
  const stack = error instanceof Error ? stackOf(error) : String(error);
  return [
    `${palette.error('error[BUG]')}: this is a bug in Ingot`,
    indent(stack),
    hintLine('please report it with the lines above and the command that led here', palette),
    '',
  ].join('\n');
}

/** What `--json` prints on stdout, without `schemaVersion`. */
export function errorToJson(error: unknown): Readonly<Record<string, unknown>> {
  if (!(error instanceof IngotError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { error: { code: 'BUG', message, stack: error instanceof Error ? error.stack : undefined } };
  }
  return {
    error: {
      code: error.code,
      message: error.message,
      hint: error.hint,
      ...error.location,
      output: error.output,
      findings: error instanceof FindingsError ? error.findings.map(findingToJson) : undefined,
    },
  };
}

/** A finding as DESIGN fixes it: its place flattened. */
export function findingToJson(finding: Finding): Readonly<Record<string, unknown>> {
  const { location, ...rest } = finding;
  return { ...rest, ...location };
}

/** All of them, each with its frame, then a count. Also used for the warnings of a valid declaration. */
export function renderFindings(findings: readonly Finding[], options: RenderErrorOptions): string {
  const { palette } = options;
  const blocks = findings.map((finding) => {
    const lines = [headline(finding.severity, finding.code, finding.message, palette)];
    if (finding.location !== undefined) lines.push(...place(finding.location, options));
    lines.push(...factLines(finding, palette));
    const [best, ...others] = finding.suggestions ?? [];
    if (best !== undefined && finding.rule !== undefined) {
      const more = others.map((other) => `\n   or ${other}`).join('');
      lines.push(`${hintLine(best, palette)}${more}`);
    } else if (best !== undefined) {
      const more = others.length === 0 ? '' : ` (or ${others.map(quote).join(', ')})`;
      lines.push(hintLine(`did you mean ${quote(best)}?${more}`, palette));
    }
    return lines.join('\n');
  });
  const errors = findings.filter((finding) => finding.severity === 'error').length;
  const warnings = findings.length - errors;
  const counts = [
    ...(errors > 0 ? [formatCount(errors, 'error')] : []),
    ...(warnings > 0 ? [formatCount(warnings, 'warning')] : []),
  ];
  return `${blocks.join('\n\n')}\n\n${counts.join(', ')}\n`;
}

const MAX_FACTS = 3;
const MAX_TITLES = 2;

/** Which rule and which facts say so. */
function factLines({ rule, sources = [] }: Finding, palette: Palette): string[] {
  if (rule === undefined) return [];
  const rows = Map.groupBy(sources, ({ file, line }) => `${file}:${line}`);
  const facts = [...rows].map(([row, said]) => {
    const more = said.length > MAX_TITLES ? `; and ${said.length - MAX_TITLES} more` : '';
    const titles = said.slice(0, MAX_TITLES).map(({ title }) => title);
    return `  fact: ${row} (${titles.join('; ')}${more})`;
  });
  return [`  rule: ${rule}`, ...facts.slice(0, MAX_FACTS)].map((line) => palette.faint(line));
}

function renderIngotError(error: IngotError, options: RenderErrorOptions): string {
  const { palette } = options;
  const lines = [headline('error', error.code, error.message, palette)];
  if (error.location !== undefined) lines.push(...place(error.location, options));
  if (error.output !== undefined && error.output !== '') {
    lines.push(palette.faint(indent(printable(error.output))));
  }
  if (error.hint !== undefined) lines.push(hintLine(error.hint, palette));
  if (options.verbose) lines.push(...causes(error).map((cause) => palette.faint(cause)));
  return `${lines.join('\n')}\n`;
}

function headline(severity: Finding['severity'], code: string, message: string, palette: Palette): string {
  const paint = severity === 'error' ? palette.error : palette.warning;
  return `${paint(`${severity}[${code}]`)}: ${palette.strong(message)}`;
}

function hintLine(text: string, palette: Palette): string {
  return `${palette.hint('hint')}: ${text}`;
}

/** ` --> images/x.yaml:3:7` and the line itself, when the file is still there to be read. */
function place(location: Location, options: RenderErrorOptions): string[] {
  const path = resolve(options.cwd, location.file);
  const shown = relative(options.cwd, path);
  const file = shown === '' || shown.startsWith('..') ? location.file : shown;
  const lines = [options.palette.faint(`  --> ${file}:${location.line}:${location.column}`)];
  try {
    const text = readFileSync(path, 'utf8');
    lines.push(indent(renderFrame(text, location.line, location.column)));
  } catch {
    // The place alone is still worth showing.
  }
  return lines;
}

function causes(error: Error): string[] {
  const lines: string[] = [];
  let cause = error.cause;
  while (cause instanceof Error && lines.length < 8) {
    lines.push(`caused by: ${cause.name}: ${printable(cause.message)}`);
    cause = cause.cause;
  }
  return lines;
}

function stackOf(error: Error): string {
  const own = error.stack ?? `${error.name}: ${error.message}`;
  return error.cause instanceof Error ? `${own}\ncaused by: ${stackOf(error.cause)}` : own;
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');
}

function quote(word: string): string {
  return `"${word}"`;
}

/** A program's output must not steer the reader's terminal. */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- exactly these are meant
  return stripVTControlCharacters(text).replaceAll(/[\u0000-\u0008\u000B-\u001F\u007F]/g, '');
}
