/** modprobe.d(5) and ld.so.conf(5) files: whether what they say can show in an initramfs. Pure. */

/** Directives whose first word is a module. What is not known counts as if it were of one that is there. */
const OF_A_MODULE = new Set(['blacklist', 'install', 'options', 'remove', 'softdep', 'weakdep']);

/**
 * Settings of modules that are not in the initramfs have no effect there.
 *
 * @param modules names of the modules in the initramfs, with underscores
 */
export function settlesModules(text: string, modules: ReadonlySet<string>): boolean {
  const isThere = (name: string): boolean => modules.has(name.replaceAll('-', '_'));
  return linesOf(text).some((line) => {
    const [directive = '', name = '', target = ''] = line.split(/\s+/);
    if (directive === 'alias') {
      return isThere(target) || [...modules].some((module) => matches(name, module));
    }
    return !OF_A_MODULE.has(directive) || isThere(name);
  });
}

/** The directories that a file of ld.so.conf.d adds to the linker's; undefined for what is not just a list. */
export function linkerFolders(text: string): readonly string[] | undefined {
  const lines = linesOf(text.replaceAll(/#.*$/gm, ''));
  return lines.every((line) => /^\/\S+$/.test(line)) ? lines : undefined;
}

/** Without comments; a backslash at the end of a line joins the next. */
function linesOf(text: string): string[] {
  return text
    .replaceAll('\\\n', ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** glob(7) without character classes, as aliases and firmware are written. */
export function matches(glob: string, name: string): boolean {
  const pattern = glob.replaceAll('-', '_').replaceAll(/[.+^${}()|\\]/g, '\\$&');
  return new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name.replaceAll('-', '_'));
}
