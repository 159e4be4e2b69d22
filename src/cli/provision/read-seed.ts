/** The FILE of `ingot disk --provision`: all its mistakes are said before a disk is made. */
import { parseProvisioning } from '../../node/provision/find-source.ts';
import type { Reporter } from '../../report/events.ts';
import { readSourceText } from '../../spec/source-text.ts';

/**
 * @throws FindingsError PROVISION_INVALID with everything that is wrong in it
 * @throws IngotError NOT_FOUND, PROVISION_INVALID
 */
export async function readSeed(path: string, shown: string, reporter: Reporter): Promise<string> {
  const text = await readSourceText(path, shown, { unreadable: 'NOT_FOUND', invalid: 'PROVISION_INVALID' });
  const { warnings } = parseProvisioning(text, shown);
  for (const { message, location } of warnings) {
    reporter.warning(`${shown}:${location?.line ?? 0}: ${message}`);
  }
  return text;
}
