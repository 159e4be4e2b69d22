/**
 * python3 as the compiler of Debian's modules. Manuals: `py_compile` in Python's library reference, PEP 552 for what
 * says that a compiled file is current, py3compile(1) for what Debian compiles.
 */
import type { Argv } from '../proc/run.ts';

/**
 * Standard input: groups of paths, `\0` between paths and `\0\0` between groups. A process for each group, all of them
 * copies of one that has compiled nothing: what a compiled file looks like depends a little on what was compiled
 * before it in the same process, and must depend on its own group alone. Modules that are not for this Python are left
 * out, as Debian's py3compile does, and so is what is a link to a setting, such as sitecustomize.py: a node may edit
 * it, and nobody would look whether the compiled file is current.
 */
const COMPILE = `
import os, py_compile, sys
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
def is_module(path):
    return os.path.isfile(path) and not os.path.realpath(path).startswith('/etc/')
def compile(paths):
    for path in filter(is_module, paths):
        try:
            py_compile.compile(path, doraise=True, invalidation_mode=unchecked)
        except (py_compile.PyCompileError, FileExistsError):
            pass
def reap():
    if os.wait()[1] != 0:
        sys.exit('a module could not be compiled')
text = sys.stdin.buffer.read().decode('utf-8', 'surrogateescape')
running = 0
for group in text.split('\\0\\0'):
    if running == len(os.sched_getaffinity(0)):
        reap()
        running -= 1
    if os.fork() == 0:
        compile(group.split('\\0'))
        sys.stdout.flush()
        os._exit(0)
    running += 1
for _ in range(running):
    reap()
`;

/** Isolated from the root's own settings and sites, and leaving no bytecode of what it imports itself. */
export function pythonCompileArgv(interpreter: string): Argv {
  return [interpreter, '-I', '-S', '-B', '-c', COMPILE];
}

export function pythonCompileInput(groups: readonly (readonly string[])[]): string {
  return groups.map((paths) => paths.join('\0')).join('\0\0');
}

/** `python3.13` and its like, the default first, out of /usr/share/python3/debian_defaults. */
export function parseDebianDefaults(text: string): readonly string[] {
  const value = (key: string): readonly string[] =>
    new RegExp(`^${key}[ \\t]*=[ \\t]*(.*)$`, 'm').exec(text)?.[1]?.match(/python3\.\d+/g) ?? [];
  return [...new Set([...value('default-version'), ...value('supported-versions')])];
}

/**
 * Folders of private modules that a maintainer script has py3compile(1) compile: what dh_python3 writes, such as
 * `py3compile -p foo /usr/share/foo -V 3.13 -X 'tests/.*'`.
 */
export function privateModuleFolders(script: string): readonly string[] {
  const folders = [...script.matchAll(/^[ \t]*py3compile[ \t]+(.*)$/gm)].flatMap(([, rest = '']) => {
    const words = (rest.replace(/[|;&#].*$/, '').match(/'[^']*'|"[^"]*"|\S+/g) ?? []).map((word) => word);
    return words.filter((word, at) => word.startsWith('/') && !/^-[pVX]$/.test(words[at - 1] ?? ''));
  });
  return folders.map((folder) => folder.replace(/\/+$/, ''));
}
