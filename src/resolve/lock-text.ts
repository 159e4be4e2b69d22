/** The lock as text: stable, one line per package, so that a difference reads well. Pure. */
import { Document, isMap, visit } from 'yaml';

import { FindingsError } from '../errors.ts';
import { applySchema } from '../spec/source-schema.ts';
import { parseSource } from '../spec/source-tree.ts';
import { Lock } from './lock.ts';

const HEADER = ` Made by \`ingot lock\`. Do not edit: change the declaration and run \`ingot lock\` again.`;

/** One collection of these is one line. */
const INLINE = new Set(['definition', 'base', 'kernel', 'driver', 'cuda', 'compressor', 'source']);
const INLINE_ITEMS = new Set([
  'packages',
  'archives',
  'runtimes',
  'containers',
  'blobs',
  'gpus',
  'files',
  'patches',
]);

export function renderLock(lock: Lock): string {
  const document = new Document(inOrder(lock));
  document.commentBefore = HEADER;
  visit(document, {
    Pair(_key, pair, path) {
      const depth = path.length;
      const name = String((pair.key as { value?: unknown }).value);
      if (isMap(pair.value) && INLINE.has(name) && !pair.value.has('image')) pair.value.flow = true;
      return depth > 8 ? visit.SKIP : undefined;
    },
    Seq(key, sequence, path) {
      const parent = path.at(-1);
      const name =
        parent !== undefined && 'key' in parent ? String((parent.key as { value?: unknown }).value) : '';
      const isOfImage = name === 'layers' && path.length > 4;
      if (key === 'value' && (INLINE_ITEMS.has(name) || isOfImage)) {
        // What names blobs of its own has a line for each.
        for (const item of sequence.items) if (isMap(item) && !item.has('blobs')) item.flow = true;
      }
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/** The order of the schema, whatever order a value was made in. */
function inOrder(lock: Lock): Lock {
  return Lock.parse(lock);
}

/** @throws FindingsError LOCK_INVALID with every problem and its line */
export function parseLock(text: string, file: string): Lock {
  const { root, findings } = parseSource({ file, text }, 'LOCK_INVALID');
  if (root === undefined) throw new FindingsError(findings);
  const result = applySchema(root, Lock, 'LOCK_INVALID');
  if (result.value === undefined) throw new FindingsError(result.findings.map(({ finding }) => finding));
  return result.value;
}
