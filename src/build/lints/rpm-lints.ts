/** Is rpm's database where a deployment carries it, and whole? */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { readRpmDatabase, RPM_DATABASE, RPM_DATABASE_FOLDERS } from '../../packages/rpm/rpm-database.ts';
import { type ImageRoot, lstatIn } from './image-root.ts';

/** `/var/lib/rpm` is a link that is made on the node; the database is a part of the system. */
export async function checkRpmDatabase({ fs }: ImageRoot): Promise<string[]> {
  const findings: string[] = [];
  const legacy = await lstatIn(fs, '/var/lib/rpm');
  if (legacy !== undefined && !legacy.isSymbolicLink()) {
    findings.push('/var/lib/rpm is in the image; the database belongs below /usr');
  }
  const folders = RPM_DATABASE_FOLDERS.map((folder) => `/${folder}`);
  for (const folder of folders.filter((path) => path.startsWith('/usr/'))) {
    const path = join(folder, RPM_DATABASE);
    if (!(await fs.exists(path))) continue;
    if (await fs.exists(`${path}-wal`)) findings.push(`${path} was not closed: it has a write-ahead log`);
    return [...findings, ...contentFindings(path, await readFile(await fs.resolve(path, true)))];
  }
  return [...findings, `there is no ${RPM_DATABASE} below /usr`];
}

function contentFindings(path: string, content: Buffer): string[] {
  try {
    return readRpmDatabase(content).length === 0 ? [`${path} holds no package`] : [];
  } catch (error) {
    return [`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`];
  }
}
