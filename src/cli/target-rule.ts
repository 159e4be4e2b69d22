/** Which disk to install to, as people type it. For commander's options. */
import { InvalidArgumentError } from 'commander';

import type { TargetRule } from '../disk/installer/target.ts';
import { parseSize } from './size.ts';

const FORMS = 'It is `only`, /dev/disk/by-id/NAME, serial=NUMBER, size=MIN or size=MIN..MAX.';

/** @throws InvalidArgumentError, which becomes USAGE */
export function parseTargetRule(text: string): TargetRule {
  if (text === 'only') return { by: 'only' };
  if (text.startsWith('/dev/')) return { by: 'path', path: text };
  const [, key, value = ''] = /^(serial|size)=(.+)$/.exec(text) ?? [];
  if (key === 'serial') return { by: 'serial', serial: value };
  if (key !== 'size') throw new InvalidArgumentError(FORMS);
  const [from = '', to, ...more] = value.split('..');
  if (more.length > 0) throw new InvalidArgumentError(FORMS);
  const rule = { by: 'size', from: parseSize(from), ...(to !== undefined && { to: parseSize(to) }) } as const;
  if (rule.to !== undefined && rule.to < rule.from) {
    throw new InvalidArgumentError('The larger size comes second.');
  }
  return rule;
}
