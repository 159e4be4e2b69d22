/**
 * Which packages came only because others need them, as apt keeps it: from it `apt autoremove` and people tell what
 * the image is for and what merely came along. Below /usr like dpkg's database, so that they go with the image.
 */
import { parseStanzas } from '../../packages/stanzas.ts';
import type { SealInput } from '../../plan/plan.ts';
import { DATABASE } from '../debian/database.ts';
import type { RootFs } from '../root-fs.ts';

const MARKS = '/usr/lib/sysimage/apt/extended_states';
const LEGACY_MARKS = '/var/lib/apt/extended_states';

type Marked = NonNullable<SealInput['automatic']>;

/** apt_extended_states(5) has a stanza for each package that was installed automatically, and none for others. */
export function extendedStates(automatic: Marked): string {
  return automatic
    .map(({ name, architecture }) => `Package: ${name}\nArchitecture: ${architecture}\nAuto-Installed: 1\n`)
    .join('\n');
}

/**
 * The marks of an image that is built on, with those of what was added, in name order. What it had stays as it was
 * marked, but for what is asked for by name now.
 *
 * @param own the image's extended_states
 * @param status dpkg's of that image
 */
export function mergedStates(
  own: string,
  status: string,
  { automatic = [], manual = [] }: Pick<SealInput, 'automatic' | 'manual'>,
): string {
  const present = new Set(parseStanzas(status).map((stanza) => stanza.get('package')));
  const asked = new Set(manual);
  const kept = parseStanzas(own).flatMap((stanza): Marked => {
    const name = stanza.get('package') ?? '';
    const isAutomatic = stanza.get('auto-installed') === '1' && !asked.has(name);
    return isAutomatic ? [{ name, architecture: stanza.get('architecture') ?? '' }] : [];
  });
  const added = automatic.filter(({ name }) => !present.has(name));
  return extendedStates([...kept, ...added].sort((one, other) => (one.name < other.name ? -1 : 1)));
}

export async function writeAptMarks(fs: RootFs, automatic: Marked): Promise<void> {
  await writeStates(fs, extendedStates(automatic));
}

/** @param base root of the image that is built on */
export async function addAptMarks(fs: RootFs, base: RootFs, input: SealInput): Promise<void> {
  const own = (await base.readTextIfPresent(MARKS)) ?? (await base.readTextIfPresent(LEGACY_MARKS)) ?? '';
  const status =
    (await base.readTextIfPresent(`${DATABASE}/status`)) ??
    (await base.readTextIfPresent('/var/lib/dpkg/status')) ??
    '';
  await writeStates(fs, mergedStates(own, status, input));
}

async function writeStates(fs: RootFs, states: string): Promise<void> {
  await fs.writeFile(MARKS, states);
  const link = `L+ ${LEGACY_MARKS} - - - - ../../..${MARKS}\n`;
  await fs.writeFile('/usr/lib/tmpfiles.d/90-ingot-apt.conf', link);
}
