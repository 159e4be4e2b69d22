/**
 * Python's bytecode. Debian's packages compile their modules when they are configured, which would be in every seal
 * anew; here the layer that brings modules has them compiled. They say that nobody need look whether they are current:
 * an image is never changed, so a module is always what was compiled, and starting reads no source.
 */
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';

import { bindMountArgv, unmountArgv } from '../../tools/mount.ts';
import type { LockedPackage } from '../../packages/package.ts';
import type { Store } from '../../store/store.ts';
import {
  parseDebianDefaults,
  privateModuleFolders,
  pythonCompileArgv,
  pythonCompileInput,
} from '../../tools/python.ts';
import type { RootFs } from '../root-fs.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';
import { DATABASE } from './database.ts';

const COMPILER = '/usr/bin/py3compile';
const DEFAULTS = '/usr/share/python3/debian_defaults';
/** Of one version of Python. */
const VERSIONED = /^\/usr\/lib\/(python3\.\d+)\/.*\.py$/;
/** Of every version that is supported, where the package has them compiled. */
const SHARED = /^\/usr\/lib\/python3\/dist-packages\/.*\.py$/;

interface BytecodeOptions {
  readonly store: Store;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compiles the modules of `packages`, which are unpacked, by each Python of the root that they are for. Nothing is done
 * in a root without Python.
 */
export async function compileBytecode(
  fs: RootFs,
  packages: readonly LockedPackage[],
  sandbox: SandboxOptions,
  { signal }: BytecodeOptions,
): Promise<void> {
  const supported: string[] = [];
  for (const name of parseDebianDefaults((await fs.readTextIfPresent(DEFAULTS)) ?? '')) {
    if (await fs.exists(`/usr/bin/${name}`)) supported.push(name);
  }
  const groups = new Map<string, string[][]>();
  for (const item of packages) {
    const { listed, script } = await installedPackage(fs, item);
    for (const [interpreter, paths] of modulesOf(listed, script, supported)) {
      if (!supported.includes(interpreter) && !(await fs.exists(`/usr/bin/${interpreter}`))) continue;
      groups.set(interpreter, [...(groups.get(interpreter) ?? []), paths]);
    }
  }
  for (const [interpreter, paths] of groups) {
    const stdin = pythonCompileInput(paths);
    await runInSandbox(pythonCompileArgv(`/usr/bin/${interpreter}`), sandbox, { signal, stdin });
  }
}

/**
 * The modules of one package by who compiles them, as its script would have it.
 *
 * @param listed paths of its files
 * @param script its postinst
 * @param supported interpreters, the default first
 */
export function modulesOf(
  listed: readonly string[],
  script: string,
  supported: readonly string[],
): ReadonlyMap<string, string[]> {
  const folders = privateModuleFolders(script);
  const compiles = /\bpy3compile\b/.test(script);
  const modules = new Map<string, string[]>();
  for (const path of listed.filter((each) => each.endsWith('.py'))) {
    const version = VERSIONED.exec(path)?.[1];
    const isPrivate = folders.some((folder) => path === folder || path.startsWith(`${folder}/`));
    const own = isPrivate ? supported.slice(0, 1) : [];
    const shared = compiles && SHARED.test(path) ? supported : own;
    const interpreters = version === undefined ? shared : [version];
    for (const name of interpreters) modules.set(name, [...(modules.get(name) ?? []), path]);
  }
  return modules;
}

async function installedPackage(
  fs: RootFs,
  { name, architecture }: LockedPackage,
): Promise<{ readonly listed: readonly string[]; readonly script: string }> {
  for (const qualified of [name, `${name}:${architecture}`]) {
    const path = join(DATABASE, 'info', qualified);
    const list = await fs.readTextIfPresent(`${path}.list`);
    if (list === undefined) continue;
    const script = (await fs.readTextIfPresent(`${path}.postinst`)) ?? '';
    return { listed: list.split('\n').sort(), script };
  }
  return { listed: [], script: '' };
}

/**
 * Does `work` where packages that are configured compile nothing, and takes away what a Python that they start has
 * compiled for itself: it says when the source was written, which configuring decides.
 *
 * @param fs the sandbox's root, an overlay
 */
export async function withoutCompiling(
  fs: RootFs,
  { root, namespace }: SandboxOptions,
  { store, signal, written }: BytecodeOptions & { /** Its upper directory. */ readonly written: string },
  work: () => Promise<void>,
): Promise<void> {
  if (namespace === undefined) throw new TypeError('a compiler is masked where only a namespace sees it');
  await using scratch = await store.scratch('mask');
  // Packages of Python itself run the module, so that what covers it must be a Python program.
  const empty = join(scratch.path, 'empty');
  await writeFile(empty, '');
  const masks = new Map([[COMPILER, join(root, 'usr/bin/true')]]);
  for (const name of await fs.list('/usr/lib')) {
    if (/^python3\.\d+$/.test(name)) masks.set(`/usr/lib/${name}/py_compile.py`, empty);
  }
  const mounted: string[] = [];
  for (const [path, source] of masks) {
    if (!(await fs.exists(path))) continue;
    const target = join(root, path);
    await namespace.run(bindMountArgv(source, target), { signal });
    mounted.push(target);
  }
  await work(); // when it fails, the namespace ends, and its mounts with it
  for (const target of mounted.reverse()) await namespace.run(unmountArgv(target), { signal });
  for (const entry of readdirSync(written, { recursive: true, withFileTypes: true })) {
    if (!entry.name.endsWith('.pyc') || basename(entry.parentPath) !== '__pycache__') continue;
    await fs.remove(join('/', relative(written, entry.parentPath), entry.name));
  }
}
