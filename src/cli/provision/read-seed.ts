/** The FILE of `ingot disk --provision`. */
import { readSourceText } from '../../spec/source-text.ts';

/** @throws IngotError */
export async function readSeed(path: string): Promise<string> {
  return readSourceText(path, path, { unreadable: 'NOT_FOUND', invalid: 'PROVISION_INVALID' });
}
