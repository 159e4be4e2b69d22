/** mtools 4: files of a FAT file system inside an image, without mounting it. Manual: mtools(1). */
import type { Argv } from '../proc/run.ts';

/** `drive` for the other functions. An image's name may not hold `@@`. */
function drive(file: string, offset: number): string {
  return `${file}@@${offset}`;
}

/** Paths are absolute inside the file system, such as `/EFI/BOOT`; parents first. */
export function mtoolsMakeDirectoriesArgv(
  file: string,
  offset: number,
  directories: readonly string[],
): Argv {
  return ['mmd', '-D', 's', '-i', drive(file, offset), ...directories.map((path) => `::${path}`)];
}

export function mtoolsCopyInArgv(file: string, offset: number, source: string, target: string): Argv {
  return ['mcopy', '-D', 'o', '-i', drive(file, offset), source, `::${target}`];
}

/** Lists every path below `/`, one on a line. */
export function mtoolsListArgv(file: string, offset: number): Argv {
  return ['mdir', '-/', '-b', '-i', drive(file, offset), '::/'];
}

/** Prints a file. */
export function mtoolsTypeArgv(file: string, offset: number, path: string): Argv {
  return ['mtype', '-i', drive(file, offset), `::${path}`];
}

/** Parses `mtoolsListArgv`: `::/EFI/BOOT/BOOTX64.EFI` becomes `/EFI/BOOT/BOOTX64.EFI`; directories are left out. */
export function parseMtoolsList(stdout: string): string[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('::/') && !line.endsWith('/'))
    .map((line) => line.slice(2));
}
