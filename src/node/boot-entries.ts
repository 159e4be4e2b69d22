/** Boot Loader Specification entries as libostree writes them, and the kernel arguments of the next one. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { BOOT_ID } from '../ostree/boot-id.ts';

/** Words of an entry's `options`. Double quotes hold a word together. */
export function parseEntryOptions(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const options = /^options[ \t]+(.*)$/.exec(line)?.[1];
    return options?.match(/(?:[^\s"]|"[^"]*")+/g) ?? [];
  });
}

export function argumentValue(words: readonly string[], name: string): string | undefined {
  return words.findLast((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
}

/**
 * Kernel arguments by deployment (`COMMIT.SERIAL`), as the boot entries have them. Which deployment an entry starts
 * says the link that its `ostree=` names.
 */
export async function loadKernelArgumentsOfEntries(
  boot: string,
  sysroot: string,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const folder = join(boot, 'loader/entries');
  const found = new Map<string, readonly string[]>();
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith('.conf')) continue;
    const words = parseEntryOptions(await readFile(join(folder, name), 'utf8'));
    const link = argumentValue(words, 'ostree');
    const target =
      link === undefined ? undefined : await readlink(join(sysroot, link)).catch(() => undefined);
    if (target !== undefined) found.set(basename(target), words);
  }
  return found;
}

/** Folders below /boot with the kernels of deployments (`COMMIT.SERIAL`), such as `ostree/default-…`. */
export async function loadBootFoldersOfEntries(
  boot: string,
  sysroot: string,
): Promise<ReadonlyMap<string, string>> {
  const folder = join(boot, 'loader/entries');
  const found = new Map<string, string>();
  for (const name of await readdir(folder).catch(() => [])) {
    const text = name.endsWith('.conf') ? await readFile(join(folder, name), 'utf8') : '';
    const kernel = /^linux[ \t]+\/?(?:boot\/)?(\S+)\/[^/\s]+$/m.exec(text)?.[1];
    const link = argumentValue(parseEntryOptions(text), 'ostree');
    if (kernel === undefined || link === undefined) continue;
    const target = await readlink(join(sysroot, link)).catch(() => undefined);
    if (target !== undefined) found.set(basename(target), kernel);
  }
  return found;
}

/**
 * Arguments of the next deployment: those of the running one, with what its image asked for replaced by what the new
 * image asks for. What the machine's owner added stays, and keeps its place.
 */
export function nextKernelArguments(
  running: readonly string[],
  ofRunningImage: readonly string[],
  ofNextImage: readonly string[],
  bootId: string,
): string[] {
  const own = running.filter((word) => !word.startsWith('ostree=') && !word.startsWith(`${BOOT_ID}=`));
  let at = -1;
  for (const word of ofRunningImage) {
    const found = own.indexOf(word);
    if (found === -1) continue;
    own.splice(found, 1);
    at = at === -1 ? found : Math.min(at, found);
  }
  own.splice(at === -1 ? own.length : at, 0, ...ofNextImage);
  return [...own, `${BOOT_ID}=${bootId}`];
}
