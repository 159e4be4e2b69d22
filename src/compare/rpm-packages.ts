/** What an image's rpm database says of packages and their files. Pure. */
import { readRpmDatabase, type RpmPackage } from '../packages/rpm/rpm-database.ts';
import type { SummaryPackage } from './image-summary.ts';

export const RPM_DATABASE_FILE = /^(?:usr\/lib\/sysimage|usr\/share|var\/lib)\/rpm\/rpmdb\.sqlite$/;

/**
 * The database among the texts of an image, which has it byte by byte.
 *
 * @returns undefined where there is none, or none that can be read
 */
export function rpmPackages(texts: ReadonlyMap<string, string>): readonly RpmPackage[] | undefined {
  const text = [...texts].findLast(([path]) => RPM_DATABASE_FILE.test(path))?.[1];
  if (text === undefined) return undefined;
  try {
    return readRpmDatabase(Buffer.from(text, 'latin1'));
  } catch {
    return undefined;
  }
}

export function summariseRpms(packages: readonly RpmPackage[]): SummaryPackage[] {
  return packages.map(({ name, version, source, bytes }) => ({
    name,
    version,
    format: 'rpm',
    source,
    bytes,
  }));
}
