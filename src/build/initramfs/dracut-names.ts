/** What dracut(8) looks for by name: told from its code, which is shell. */
import type { RootFs } from '../root-fs.ts';

const DRACUT = '/usr/lib/dracut';
const PROGRAMS = ['/usr/bin/dracut', `${DRACUT}/dracut-init.sh`, `${DRACUT}/dracut-functions.sh`];

/**
 * Every word and glob(7) in the code that decides what goes into an initramfs, sorted: all of the modules that are in it, and of the
 * others just what decides whether they are.
 *
 * @param active names of dracut's modules in the initramfs, without their numbers
 */
export async function namesInDracut(fs: RootFs, active: ReadonlySet<string>): Promise<string[]> {
  const texts: string[] = [];
  for (const path of PROGRAMS) texts.push((await fs.readTextIfPresent(path)) ?? '');
  for (const folder of await fs.list(`${DRACUT}/modules.d`)) {
    const setup = (await fs.readTextIfPresent(`${DRACUT}/modules.d/${folder}/module-setup.sh`)) ?? '';
    texts.push(active.has(folder.replace(/^\d+/, '')) ? setup : bodyOfCheck(setup));
  }
  return [...new Set(texts.flatMap(wordsOf))].sort();
}

/** dracut.modules(7): a module is left out when its function `check` fails. */
function bodyOfCheck(setup: string): string {
  return /^check\(\) *\{\n([^]*?)^\}/m.exec(setup)?.[1] ?? '';
}

function wordsOf(code: string): string[] {
  return code.replaceAll(/^\s*#.*$/gm, '').match(/[\w.+@*-]+/g) ?? [];
}
