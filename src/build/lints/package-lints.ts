/** Is the package database where a deployment carries it, and whole? */
import { DATABASE } from '../debian/database.ts';
import { contentsOf } from './layout-lints.ts';
import { type ImageRoot, lstatIn } from './image-root.ts';

/** `/var/lib/dpkg` is a link that tmpfiles makes on the node; the database is a part of the system. */
export async function checkPackageDatabase(image: ImageRoot): Promise<string[]> {
  const { fs } = image;
  const findings: string[] = [];
  const legacy = await lstatIn(fs, '/var/lib/dpkg');
  if (legacy !== undefined && !legacy.isSymbolicLink()) {
    findings.push(`/var/lib/dpkg is in the image; the database belongs to ${DATABASE}`);
  }
  const status = await fs.readText(`${DATABASE}/status`);
  const info = new Set(await fs.list(`${DATABASE}/info`));
  let packages = 0;
  for (const stanza of status.split(/\n{2,}/)) {
    const field = (name: string): string | undefined =>
      new RegExp(`^${name}: *(.*)$`, 'm').exec(stanza)?.[1]?.trim();
    const name = field('Package');
    if (name === undefined) continue;
    packages += 1;
    const state = field('Status');
    if (state !== 'install ok installed') findings.push(`${name} is "${state ?? 'without a state'}"`);
    for (const pending of ['Triggers-Pending', 'Triggers-Awaited', 'Config-Version']) {
      if (field(pending) !== undefined) findings.push(`${name} has ${pending}`);
    }
    if (!info.has(`${name}.list`) && !info.has(`${name}:${field('Architecture') ?? ''}.list`)) {
      findings.push(`${name} has no file list in ${DATABASE}/info`);
    }
  }
  if (packages === 0) findings.push(`${DATABASE}/status holds no package`);
  findings.push(...(await contentsOf(image, `${DATABASE}/updates`)));
  if (((await fs.readTextIfPresent(`${DATABASE}/triggers/Unincorp`)) ?? '').trim() !== '') {
    findings.push(`${DATABASE}/triggers/Unincorp is not empty`);
  }
  return findings;
}
