/** Files that a layer brings into the image from its own folder, `<kind>/<name>/`. */
import { realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { quoted } from '../spec/source-tree.ts';
import { readSourceText } from '../spec/source-text.ts';

/**
 * Text of `from` in a layer's folder. Neither `..` nor a link leads out of the folder: a layer that was fetched
 * from elsewhere must not carry a file of the build host into an image.
 *
 * @throws IngotError CATALOG_INVALID
 */
export async function readBroughtFile(folder: string, from: string): Promise<string> {
  const refuse = (why: string, cause?: unknown): IngotError =>
    new IngotError('CATALOG_INVALID', `cannot bring ${quoted(from)}: ${why}`, { cause });
  let real: string;
  try {
    const home = await realpath(folder);
    real = await realpath(join(folder, from));
    if (!real.startsWith(home + sep)) throw refuse(`it is outside of the layer's folder ${folder}`);
  } catch (error) {
    if (error instanceof IngotError) throw error;
    const missing = errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR';
    throw refuse(missing ? `there is no ${join(folder, from)}` : (errnoOf(error) ?? 'error'), error);
  }
  return readSourceText(real, join(folder, from), {
    unreadable: 'CATALOG_INVALID',
    invalid: 'CATALOG_INVALID',
  });
}
