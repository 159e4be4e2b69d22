/** kmod: modinfo and depmod. Manuals: modinfo(8), depmod(8). */
import type { Argv } from '../proc/run.ts';

/** Prints one field of a module, one line for each time it has it. */
export function modinfoFieldArgv(module: string, field: string): Argv {
  return modinfoFieldsArgv([module], field);
}

/** The same of several modules, one after the other. */
export function modinfoFieldsArgv(modules: readonly string[], field: string): Argv {
  return ['modinfo', '--field', field, ...modules];
}

/**
 * Looks at every module below `baseDirectory` and writes nothing. Symbols, and the checksums of their types, are held
 * against the other modules and against what `symvers` says of the kernel.
 */
export function depmodCheckArgv(baseDirectory: string, symvers: string, release: string): Argv {
  return ['depmod', '--dry-run', '--basedir', baseDirectory, '--errsyms', '--symvers', symvers, release];
}

/** Complaints of `depmod --errsyms` about one of `modules`, by file name, without the folder it was looked at in. */
export function parseDepmodComplaints(output: string, modules: readonly string[]): string[] {
  return output.split('\n').flatMap((line) => {
    const [, file = '', rest] =
      /^depmod: (?:WARNING|ERROR): (?:\S*\/)?([^/\s]+\.ko) ((?:needs unknown|disagrees about version of) symbol .*)$/.exec(
        line,
      ) ?? [];
    return rest !== undefined && modules.includes(file) ? [`${file} ${rest}`] : [];
  });
}
