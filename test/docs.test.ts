/** The documentation is part of the program: what it names must be there, and what is there must be in it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';

import { LayerDefinition } from '../src/catalog/layer.ts';
import { loadCatalog, type LoadedCatalog } from '../src/catalog/load.ts';
import { createRootCommand, PRODUCT_ROOT } from '../src/cli/root-command.ts';
import { schemaOf } from '../src/cli/schemas.ts';
import { exitCodeOf, IngotError, type ErrorCode } from '../src/errors.ts';
import { parseProvisioning } from '../src/node/provision/find-source.ts';
import { checkReferences } from '../src/resolve/check-references.ts';
import { parseSpec } from '../src/spec/parse.ts';
import { TrustPolicyInput } from '../src/trust/policy-schema.ts';
import {
  anchorsOf,
  codeSpans,
  commandTree,
  complaintAbout,
  fencedBlocks,
  ingotArguments,
  leafCommands,
  loadDocument,
  loadDocuments,
  localLinks,
  schemaKeys,
  sectionsOf,
  shellLines,
  tableRows,
  withoutBackticks,
} from './support/docs.ts';

const documents = loadDocuments();
const DECLARATION = 'docs/declaration.md';
const CLI = 'docs/cli.md';

const blocks = documents.flatMap(({ path, text }) =>
  fencedBlocks(text).map((block) => ({ ...block, place: `${path}:${block.line}` })),
);

describe('links', () => {
  test.each(documents.map(({ path, text }) => ({ path, text })))(
    'of $path lead somewhere',
    ({ path, text }) => {
      const broken = localLinks(text).filter((link) => {
        const [file = '', anchor] = link.split('#');
        const target = file === '' ? path : join(dirname(path), file);
        if (!existsSync(join(PRODUCT_ROOT, target))) return true;
        return anchor !== undefined && !anchorsOf(loadDocument(target).text).has(anchor);
      });
      expect(broken).toEqual([]);
    },
  );

  test.each(documents.map(({ path, text }) => ({ path, text })))('paths in $path are there', ({ text }) => {
    const paths = codeSpans(text).filter((span) =>
      /^(?:src|test|layers|scripts|docs|schema|images|bin|bench)\/[\w./-]*$/.test(span),
    );
    expect(paths.filter((path) => !existsSync(join(PRODUCT_ROOT, path)))).toEqual([]);
  });
});

describe('command lines', () => {
  const lines = blocks.flatMap((block) =>
    shellLines(block).flatMap((line) => {
      const args = ingotArguments(line);
      return args === undefined ? [] : [{ place: block.place, line, args }];
    }),
  );

  test.each(lines)('$place: $line', async ({ args }) => {
    expect((await complaintAbout(args))?.message).toBeUndefined();
  });

  const named = documents.flatMap(({ path, text }) =>
    codeSpans(text).flatMap((span) => {
      const args = ingotArguments(span);
      return args === undefined ? [] : [{ path, span, args }];
    }),
  );

  test.each(named)('$path: $span', async ({ args }) => {
    // In a sentence arguments may be left out, or stand as <placeholder>.
    const complaint = await complaintAbout(args.filter((word) => !/^[<[]/.test(word)));
    const incomplete = [
      'commander.missingArgument',
      'commander.missingMandatoryOptionValue',
      'commander.optionMissingArgument',
      'commander.help',
    ];
    expect(complaint === undefined || incomplete.includes(complaint.code), complaint?.message).toBe(true);
  });

  test('of npm name scripts that there are', () => {
    const { scripts } = JSON.parse(readFileSync(join(PRODUCT_ROOT, 'package.json'), 'utf8')) as {
      readonly scripts: Readonly<Record<string, string>>;
    };
    const named = documents.flatMap(({ text }) =>
      [...text.matchAll(/npm run (?:--\S+ )*([\w-]+(?::[\w-]+)*)/g)].map(([, name]) => name),
    );
    expect(named.filter((name) => !Object.hasOwn(scripts, name ?? ''))).toEqual([]);
  });
});

describe('YAML', () => {
  let catalog: LoadedCatalog;
  beforeAll(async () => {
    catalog = await loadCatalog([join(PRODUCT_ROOT, 'layers')]);
  });

  test.each(blocks.filter(({ language }) => language === 'yaml'))('$place holds', async ({ text, place }) => {
    const value = parse(text) as
      Readonly<Record<string, unknown>> | readonly Readonly<Record<string, unknown>>[];
    if (Array.isArray(value)) {
      // Rows of the fact tables: none goes without its source.
      for (const row of value as readonly Readonly<Record<string, unknown>>[])
        expect(row).toHaveProperty('source');
      return;
    }
    if ('instance' in value) {
      expect(parseProvisioning(text, place).warnings).toEqual([]);
      return;
    }
    if ('kind' in value) {
      expect(LayerDefinition.safeParse(value).error).toBeUndefined();
      return;
    }
    if ('repositories' in value) {
      expect(TrustPolicyInput.safeParse(value).error).toBeUndefined();
      return;
    }
    // An example may show a part of a declaration.
    const rest = [
      ...('name' in value ? [] : ['name: example']),
      ...('base' in value ? [] : ['base: debian@13']),
    ];
    const parsed = await parseSpec([...rest, text].join('\n'), place, {
      defaultRelease: () => '13',
      readExtended: () => Promise.resolve('packages: [curl]'),
    });
    expect([...parsed.warnings, ...checkReferences(parsed, catalog)]).toEqual([]);
  });
});

describe('keys', () => {
  const documented = (path: string): string[] =>
    tableRows(loadDocument(path).text, 'Key').map(([key]) => withoutBackticks(key));

  test('of a declaration are those of its schema', () => {
    const keys = schemaKeys(schemaOf('node-image'));
    const own = [...keys].filter((key) => !key.startsWith('variants[].'));
    const varied = [...keys].filter((key) => key.startsWith('variants[].')).map((key) => key.slice(11));
    expect(documented(DECLARATION).sort()).toEqual([...own, 'variants[].name'].sort());
    // The documentation says of variants: every key but these two.
    expect(varied.sort()).toEqual(own.filter((key) => !['extends', 'variants'].includes(key)).sort());
  });

  test('of a layer are those of its schema', () => {
    const keys = [...schemaKeys(schemaOf('layer'))];
    // A row stands for a value, not for the mapping or list around it.
    const values = keys.filter(
      (key) => !keys.some((other) => other.startsWith(`${key}.`) || other.startsWith(`${key}[`)),
    );
    expect(documented('docs/layers.md').sort()).toEqual(values.sort());
  });
});

describe(CLI, () => {
  const { text } = loadDocument(CLI);
  const flagsIn = (part: string): string[] =>
    tableRows(part, 'Option').map(([flags]) => withoutBackticks(flags));

  test('has a section for every command, with its options', async () => {
    const sections = new Map(
      sectionsOf(text).flatMap(({ title, text: body }) => {
        const name = /^`ingot (.+)`$/.exec(title)?.[1];
        return name === undefined ? [] : [[name, flagsIn(body).sort()] as const];
      }),
    );
    const commands = [...leafCommands(await commandTree())].map(
      ([name, command]) => [name, command.options.map(({ flags }) => flags).sort()] as const,
    );
    expect(Object.fromEntries(sections)).toEqual(Object.fromEntries(commands));
  });

  test('has the options of every command', () => {
    const [section] = sectionsOf(text);
    const flags = createRootCommand().options.map((option) => option.flags);
    expect(flagsIn(section?.text ?? '').sort()).toEqual([...flags, '-h, --help'].sort());
  });

  test('has every error code, with its exit code', () => {
    const source = readFileSync(join(PRODUCT_ROOT, 'src/errors.ts'), 'utf8');
    const union = /export type ErrorCode =(.*?);/s.exec(source)?.[1] ?? '';
    const codes = [...union.matchAll(/'([A-Z_]+)'/g)].map((match) => match[1] as ErrorCode);
    expect(codes.length).toBeGreaterThan(10);
    expect(
      Object.fromEntries(
        tableRows(text, 'Code').map(([code, exit]) => [withoutBackticks(code), Number(exit)]),
      ),
    ).toEqual(Object.fromEntries(codes.map((code) => [code, exitCodeOf(new IngotError(code, ''))])));
  });

  test('has every variable', () => {
    const sources = readdirSync(join(PRODUCT_ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
      .map((path) => readFileSync(join(PRODUCT_ROOT, 'src', path), 'utf8'));
    const used = new Set(sources.flatMap((source) => source.match(/\bINGOT_[A-Z_]*[A-Z]\b/g) ?? []));
    const documented = tableRows(text, 'Variable').map(([name]) => withoutBackticks(name));
    expect([...used].filter((name) => !documented.includes(name))).toEqual([]);
  });
});
