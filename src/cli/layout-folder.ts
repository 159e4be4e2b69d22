/** The folder of a layout that is to be written, as people type it. For commander's options. */
import { InvalidArgumentError } from 'commander';

/**
 * Elsewhere a layout is `oci:DIR`, and so it may be here.
 *
 * @throws InvalidArgumentError, which becomes USAGE
 */
export function parseLayoutFolder(text: string): string {
  const folder = text.replace(/^oci:/, '');
  if (folder === '') throw new InvalidArgumentError('It names no folder.');
  // What such a folder holds could not be named afterwards: the colon ends it in oci:DIR:NAME.
  if (folder.includes(':')) {
    throw new InvalidArgumentError('It is a folder, and has no colon: the image in it gets its own name.');
  }
  return folder;
}
