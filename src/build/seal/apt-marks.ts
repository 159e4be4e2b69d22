/**
 * apt's marks: which packages nobody asked for. They tell a person on the node, and tools that read the database, what
 * the image is for and what merely came along. Below /usr like dpkg's database, so that they go with the image.
 */
import type { SealInput } from '../../plan/plan.ts';
import type { RootFs } from '../root-fs.ts';

const MARKS = '/usr/lib/sysimage/apt/extended_states';

/** apt_extended_states(5) has a stanza for each package that was installed automatically, and none for others. */
export function extendedStates(automatic: NonNullable<SealInput['automatic']>): string {
  return automatic
    .map(({ name, architecture }) => `Package: ${name}\nArchitecture: ${architecture}\nAuto-Installed: 1\n`)
    .join('\n');
}

export async function writeAptMarks(fs: RootFs, automatic: NonNullable<SealInput['automatic']>): Promise<void> {
  await fs.writeFile(MARKS, extendedStates(automatic));
  const link = `L+ /var/lib/apt/extended_states - - - - ../../..${MARKS}\n`;
  await fs.writeFile('/usr/lib/tmpfiles.d/90-ingot-apt.conf', link);
}
