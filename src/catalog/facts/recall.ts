/** The facts, read or recalled. What reads them is loaded only when they are read. */
import { extname, join } from 'node:path';

import { keptValue } from '../kept-value.ts';
import type { Facts } from './types.ts';

const SOURCE = join(import.meta.dirname, '../..');
/** `.ts`, and `.js` in a package that was built. */
const EXTENSION = extname(import.meta.filename);

/** What decides which facts are made of a text. */
export const FACTS_CODE: readonly string[] = [
  join(SOURCE, 'catalog/facts'),
  ...[
    'digest',
    'errors',
    'spec/findings',
    'spec/source-schema',
    'spec/source-text',
    'spec/source-tree',
    'spec/suggest',
  ].map((name) => join(SOURCE, `${name}${EXTENSION}`)),
  // Says which parsers there are.
  join(SOURCE, '../package.json'),
];

/**
 * @param folder `drivers/` of the product
 * @param keptIn for tests
 * @throws FindingsError FACTS_INVALID with every mistake and contradiction
 */
export async function recallFacts(folder: string, keptIn?: string): Promise<Facts> {
  const make = async (): Promise<Facts> => (await import('./load.ts')).loadFacts(folder);
  return keptValue({ name: 'facts', folder, code: FACTS_CODE, make, keptIn });
}
