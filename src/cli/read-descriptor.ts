/**
 * Secrets that come through file descriptors. They are read before anything is awaited and closed at once, so that no
 * program is started that could inherit them.
 */
import { closeSync, readFileSync } from 'node:fs';

import { errnoOf, IngotError } from '../errors.ts';

/**
 * @param number as written
 * @param option whose value it is
 * @param otherwise what the option takes besides
 * @throws IngotError USAGE
 */
export function readDescriptor(number: string, option: string, otherwise = ''): Buffer {
  if (!/^(?:[3-9]|[1-9]\d{1,5})$/.test(number)) {
    // Not what was given instead: it may be the secret itself.
    throw new IngotError('USAGE', `${option} takes the number of a file descriptor from 3 on${otherwise}`, {
      hint: `such as: ${option} 3 3<FILE`,
    });
  }
  const descriptor = Number(number);
  try {
    const content = readFileSync(descriptor);
    closeSync(descriptor);
    return content;
  } catch (error) {
    const errno = errnoOf(error) ?? 'error';
    const why = errno === 'EBADF' ? 'it is not open for reading' : errno;
    throw new IngotError('USAGE', `the file descriptor ${number} of ${option} cannot be read: ${why}`, {
      hint: `open it for Ingot: ${option} ${number} ${number}<FILE`,
      cause: error,
    });
  }
}

/** A password: without the newline that a file ends with. */
export function readPasswordDescriptor(number: string, option: string): string {
  return readDescriptor(number, option)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}
