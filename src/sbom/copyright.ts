/**
 * What a package's copyright file says of its licences. Only the machine-readable format says it so that a program can
 * know (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/): of any other text nothing is claimed.
 */
import { createHash } from 'node:crypto';

import { parseStanzas, type Stanza } from '../packages/stanzas.ts';
import { type Expression, join, parseLicenceExpression, renderExpression } from './licence-expression.ts';
import { spdxIdOf } from './licence-names.ts';

/** A licence that SPDX has no certain name for, under a name that follows from what it is called and its text. */
export interface CustomLicence {
  /** `LicenseRef-…` */
  readonly id: string;
  readonly name: string;
  /** As the copyright file has it; undefined when it has none. */
  readonly text: string | undefined;
}

export interface Licence {
  /** Of SPDX. */
  readonly expression: string;
  /** What `expression` names of its own. */
  readonly custom: readonly CustomLicence[];
}

const FORMAT = /copyright-format\/1\.0\/?$/;

/** @returns undefined for a text that is not in the machine-readable format, or names no licence */
export function parseCopyright(text: string): Licence | undefined {
  const [header, ...stanzas] = parseStanzas(text.replaceAll('\r\n', '\n'));
  if (header === undefined || !FORMAT.test(header.get('format') ?? '')) return undefined;
  const ofFiles = stanzas.filter((stanza) => stanza.has('files')).flatMap(namedIn);
  const named = ofFiles.length > 0 ? ofFiles : namedIn(header);
  if (named.length === 0) return undefined;
  const texts = new Map<string, string>();
  for (const stanza of stanzas) {
    const [name, ...lines] = (stanza.get('license') ?? '').split('\n');
    const body = withoutDots(lines);
    if (name !== undefined && body !== '' && !texts.has(name.toLowerCase()))
      texts.set(name.toLowerCase(), body);
  }
  const custom = new Map<string, CustomLicence>();
  const nameOf = (name: string): string => {
    const known = spdxIdOf(name);
    if (known !== undefined) return known;
    const licence = customLicence(name, texts.get(name.toLowerCase()));
    custom.set(licence.id, licence);
    return licence.id;
  };
  const parts = named.map((one): Expression => parseLicenceExpression(one) ?? { kind: 'name', name: one });
  return { expression: renderExpression(join('and', parts), nameOf), custom: [...custom.values()] };
}

/** The first line of the field is the expression, what follows is text. */
function namedIn(stanza: Stanza): string[] {
  const [name = ''] = (stanza.get('license') ?? '').split('\n', 1);
  return name.trim() === '' ? [] : [name.trim()];
}

/** An empty line is written as a dot. */
function withoutDots(lines: readonly string[]): string {
  return lines
    .map((line) => (line.trim() === '.' ? '' : line.trimEnd()))
    .join('\n')
    .trim();
}

/** Two packages may call different texts `public-domain`, so the text is in the name. */
function customLicence(name: string, text: string | undefined): CustomLicence {
  const slug = name
    .replaceAll(/[^A-Za-z0-9.]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 60);
  const hash = createHash('sha256')
    .update(`${name}\0${text ?? ''}`)
    .digest('hex')
    .slice(0, 8);
  return { id: `LicenseRef-${slug === '' ? '' : `${slug}-`}${hash}`, name, text };
}
