/**
 * Names of catalogue layers in a declaration that may be wrong elsewhere: so that a mistyped addon is shown beside
 * the other mistakes, and not only after they are mended. What is right in form is checked in full later, by
 * `checkReferences`.
 */
import type { Finding } from '../errors.ts';
import { nodeAt, type SourceMapping, type SourceNode } from './source-tree.ts';
import { nearest } from './suggest.ts';

/** Every name that the catalogue has, by kind. */
export interface KnownNames {
  readonly agents: readonly string[];
  readonly addons: readonly string[];
  readonly bases: readonly string[];
  readonly kernels: readonly string[];
}

/** One finding; its words are the same wherever a name is checked. */
export function unknownName(
  what: string,
  name: string,
  known: readonly string[],
  location: SourceNode['at'],
): Finding {
  const near = nearest(name, known);
  const list = known.length === 0 ? 'there are none' : `known: ${known.join(', ')}`;
  return {
    code: 'SPEC_INVALID',
    severity: 'error',
    message: near.length > 0 ? `unknown ${what} "${name}"` : `unknown ${what} "${name}" (${list})`,
    location,
    ...(near.length > 0 && { suggestions: near }),
  };
}

export function checkNames(root: SourceMapping, known: KnownNames): Finding[] {
  const findings: Finding[] = [];
  const check = (what: string, node: SourceNode | undefined, names: readonly string[]): void => {
    if (node?.kind !== 'scalar' || typeof node.value !== 'string') return;
    const name = node.value.replace(/@.*$/, ''); // `debian@13`
    if (!names.includes(name)) findings.push(unknownName(what, name, names, node.at));
  };
  check('base', nodeAt(root, ['base']), known.bases);
  check('base', nodeAt(root, ['base', 'use']), known.bases);
  check('kernel', nodeAt(root, ['kernel']), known.kernels);
  check('kernel', nodeAt(root, ['kernel', 'flavour']), known.kernels);
  check('agent', nodeAt(root, ['agent']), known.agents);
  const addons = nodeAt(root, ['addons']);
  if (addons?.kind === 'list') for (const addon of addons.items) check('addon', addon, known.addons);
  return findings;
}
