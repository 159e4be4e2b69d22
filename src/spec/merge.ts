/**
 * How a nearer source tree overrides a farther one, for `extends` and `variants` alike:
 *
 * - mappings merge, key by key;
 * - single values replace, also when the two are of different kinds;
 * - lists append; a nearer entry with the same identity replaces the farther one where that stood. The identity
 *   of a mapping is its `path`, `name` or `use`, of a text the text itself (of `packages`: up to the `=`, of
 *   `runtimes`: up to the `@`).
 *
 * Merging is associative where the kinds of values agree, and the empty mapping is neutral. Duplicates within one
 * list stay, so that they are found. Every value keeps the place where it was written.
 */
import type { SourceList, SourceMapping, SourceMember, SourceNode } from './source-tree.ts';

export function mergeMappings(farther: SourceMapping, nearer: SourceMapping): SourceMapping {
  const members = new Map<string, SourceMember>(farther.members);
  for (const [key, member] of nearer.members) {
    const below = members.get(key);
    members.set(
      key,
      below === undefined
        ? member
        : { keyAt: member.keyAt, value: mergeNodes(below.value, member.value, key) },
    );
  }
  return { kind: 'mapping', members, at: nearer.at, size: farther.size + nearer.size };
}

/** A mapping without some of its keys. */
export function withoutKeys(mapping: SourceMapping, keys: readonly string[]): SourceMapping {
  return { ...mapping, members: new Map([...mapping.members].filter(([key]) => !keys.includes(key))) };
}

function mergeNodes(farther: SourceNode, nearer: SourceNode, key: string): SourceNode {
  if (farther.kind === 'mapping' && nearer.kind === 'mapping') return mergeMappings(farther, nearer);
  if (farther.kind === 'list' && nearer.kind === 'list') return mergeLists(farther, nearer, key);
  return nearer;
}

function mergeLists(farther: SourceList, nearer: SourceList, key: string): SourceList {
  const items = [...farther.items];
  const slots = new Map<string, number>();
  items.forEach((item, index) => {
    const identity = identityOf(item, key);
    if (identity !== undefined) slots.set(identity, index);
  });
  for (const item of nearer.items) {
    const identity = identityOf(item, key);
    const slot = identity === undefined ? undefined : slots.get(identity);
    if (identity === undefined || slot === undefined) {
      items.push(item);
    } else {
      items[slot] = item;
      // A second entry of the same list must not hide the first.
      slots.delete(identity);
    }
  }
  return { kind: 'list', items, at: nearer.at, size: farther.size + nearer.size };
}

/** What makes two entries of a list the same thing; undefined for what cannot be compared. */
export function identityOf(node: SourceNode, key: string): string | undefined {
  if (node.kind === 'mapping') {
    const { members } = node;
    // A model has a path too, and is known by its name.
    const path = key === 'models' ? undefined : members.get('path');
    const name = (path ?? members.get('name') ?? members.get('use'))?.value;
    return name?.kind === 'scalar' && typeof name.value === 'string' ? name.value : undefined;
  }
  if (node.kind !== 'scalar' || typeof node.value !== 'string') return undefined;
  if (key === 'packages') return node.value.split('=', 1)[0];
  return key === 'runtimes' ? node.value.split('@', 1)[0] : node.value;
}
