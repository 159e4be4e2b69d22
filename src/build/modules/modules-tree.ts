/** Builds the kernel modules of one source package: the tree of a step of the kind `modules`. */
import { chmod, lstat, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import { IngotError } from '../../errors.ts';
import type { Mirrors } from '../../packages/mirror.ts';
import type { ModulesInput, PlannedTree } from '../../plan/plan.ts';
import type { Argv } from '../../proc/run.ts';
import type { Reporter } from '../../report/events.ts';
import type { Store } from '../../store/store.ts';
import { stripDebugArgv } from '../../tools/binutils.ts';
import { dpkgDebExtractArgv } from '../../tools/dpkg.ts';
import { depmodCheckArgv, modinfoFieldArgv, parseDepmodComplaints } from '../../tools/kmod.ts';
import { patchArgv } from '../../tools/patch.ts';
import { packageInside } from '../debian/bootstrap.ts';
import { RootFs } from '../root-fs.ts';
import { CompileComplaints, compileFailure } from './compile-failure.ts';
import { ensureCompileRoot } from './compile-root.ts';
import { BUILD_INSIDE, makeScratch, runCompiling, type CompileSandbox } from './compile-sandbox.ts';
import { parseRecipe, RECIPE_SCRIPT, type ModuleRecipe } from './recipe.ts';
import type { ModuleSigner } from './signature.ts';

export interface ModulesOptions {
  readonly store: Store;
  readonly mirrors: () => Promise<Mirrors>;
  /** When the lock was made: the time that snapshot archives are asked for. */
  readonly created: Date;
  /** The one that the step was planned for. */
  readonly signer?: ModuleSigner | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

/** A module that was made, by its name and where it is in the scratch folder. */
interface MadeModule {
  readonly name: string;
  readonly inside: string;
}

/**
 * Fills `root` with the modules below `usr/lib/modules/<release>/updates`, where depmod looks before the kernel's own
 * (depmod.d(5)), signed when there is a signer, whose certificate is then beside them.
 *
 * @throws IngotError BUILD_FAILED with the compiler's words, or for modules that are not for this kernel
 */
export async function makeModulesTree(root: string, step: PlannedTree, options: ModulesOptions): Promise<void> {
  const { modules: input, epoch } = step;
  if (input === undefined) throw new TypeError(`the step ${step.name} does not say what modules it builds`);
  const { store, signal, reporter, signer } = options;
  if (signer?.fingerprint !== input.signer) throw new TypeError(`${step.name} is planned for another signer`);
  const compileRoot = await ensureCompileRoot(input.compile, options);
  await using scratch = await store.scratch('modules');
  const builder = new ModuleBuilder(
    input,
    {
      root: compileRoot,
      packages: store.path('packages'),
      scratch: await makeScratch(scratch.path),
      epoch,
    },
    { reporter, signal },
  );
  const made = await reporter.stage(`Compile ${input.source.name}`, async (stage) => {
    const all = await builder.make((count) => {
      stage.progress(count, undefined, 'items', 'compiling');
    });
    stage.detail(`${all.length} modules for ${input.kernelRelease}`);
    return all;
  });
  await builder.check(made);
  const folder = await makeFolders(root, ['usr', 'lib', 'modules', input.kernelRelease, 'updates']);
  for (const { name, inside } of made) {
    const module = await readFile(await builder.outside(inside));
    await writeOwnFile(join(folder, `${name}.ko`), signer === undefined ? module : await signer.sign(module, signal));
  }
  if (signer === undefined) return;
  const certificates = await makeFolders(root, ['usr', 'share', 'ingot', 'module-certificates']);
  await writeOwnFile(join(certificates, `${step.name}.der`), signer.certificate);
}

class ModuleBuilder {
  readonly #input: ModulesInput;
  readonly #sandbox: CompileSandbox;
  readonly #options: { readonly reporter: Reporter; readonly signal: AbortSignal | undefined };
  /** What programs left in the scratch folder is theirs: no link in it leads out. */
  readonly #fs: RootFs;

  constructor(
    input: ModulesInput,
    sandbox: CompileSandbox,
    options: { readonly reporter: Reporter; readonly signal: AbortSignal | undefined },
  ) {
    this.#input = input;
    this.#sandbox = sandbox;
    this.#options = options;
    this.#fs = new RootFs(sandbox.scratch);
  }

  /** Unpacks, patches, compiles and strips. */
  async make(onCompiled: (count: number) => void): Promise<readonly MadeModule[]> {
    const { source, kernelRelease, architecture, patches } = this.#input;
    await this.#run(dpkgDebExtractArgv(packageInside(source), `${BUILD_INSIDE}/package`));
    const unpacked = await this.#findSource();
    const machine = architecture === 'arm64' ? 'aarch64' : 'x86_64'; // as uname(1) says it
    const recipe = parseRecipe(
      await this.#run(
        ['bash', '-c', RECIPE_SCRIPT, 'recipe', kernelRelease, `${BUILD_INSIDE}/dkms`, String(jobs()), machine],
        { cwd: `${BUILD_INSIDE}/package/usr/src/${unpacked}` },
      ),
      this.#title,
      kernelRelease,
    );
    // Where DKMS would build: make files may say it in full.
    const place = `dkms/${recipe.name}/${recipe.version}`;
    await mkdir(join(this.#sandbox.scratch, place), { recursive: true });
    await rename(
      join(this.#sandbox.scratch, 'package/usr/src', unpacked),
      join(this.#sandbox.scratch, place, 'build'),
    );
    const folder = `${BUILD_INSIDE}/${place}/build`;
    for (const name of recipe.patches) {
      await this.#patch(name, await this.#fs.readText(`${place}/build/patches/${name}`), folder);
    }
    for (const { name, text } of patches) await this.#patch(name, text, folder);
    await this.#compile(recipe, folder, onCompiled);
    const made = recipe.modules.map(({ name, folder: below }) => ({
      name,
      inside: [folder, ...(below === '' ? [] : [below]), `${name}.ko`].join('/'),
    }));
    for (const { inside } of made) {
      await this.outside(inside);
      await this.#run(stripDebugArgv(inside));
    }
    return made;
  }

  /** The kernel of the modules, and every symbol that they take from it or from each other. */
  async check(made: readonly MadeModule[]): Promise<void> {
    const { kernelRelease: release } = this.#input;
    for (const { name, inside } of made) {
      const vermagic = await this.#run(modinfoFieldArgv(inside, 'vermagic'));
      if (vermagic.split(' ', 1)[0] === release) continue;
      throw new IngotError('BUILD_FAILED', `the module ${name} of ${this.#title} is for the kernel ${vermagic}, not for ${release}`);
    }
    const base = `${BUILD_INSIDE}/check`;
    const tree = `${base}/lib/modules/${release}`;
    const files = made.map(({ inside }) => inside);
    await this.#run(['mkdir', '-p', `${tree}/updates`]);
    await this.#run(['cp', '-r', '--symbolic-link', `/usr/lib/modules/${release}/kernel`, `${tree}/kernel`]);
    await this.#run(['cp', ...['modules.order', 'modules.builtin', 'modules.builtin.modinfo'].map((name) => `/usr/lib/modules/${release}/${name}`), tree]);
    await this.#run(['cp', ...files, `${tree}/updates`]);
    const said = await this.#run(depmodCheckArgv(base, `/lib/modules/${release}/build/Module.symvers`, release), {
      withErrors: true,
    });
    const complaints = parseDepmodComplaints(said, made.map(({ name }) => `${name}.ko`));
    if (complaints.length > 0) {
      throw new IngotError('BUILD_FAILED', [`modules of ${this.#title} do not fit ${release}:`, ...complaints.map((line) => `  ${line}`)].join('\n'));
    }
  }

  /** The real path of a file that programs made. @throws IngotError BUILD_FAILED when there is none */
  async outside(inside: string): Promise<string> {
    const path = await this.#fs.resolve(inside.slice(BUILD_INSIDE.length), true);
    const stats = await lstat(path).catch(() => undefined);
    if (stats?.isFile() === true) return path;
    throw new IngotError('BUILD_FAILED', `${this.#title} built no ${inside.replace(/^.*\//, '')}`, {
      hint: 'its dkms.conf names that module, and its make files do not make it for this kernel',
    });
  }

  async #compile(recipe: ModuleRecipe, cwd: string, onCompiled: (count: number) => void): Promise<void> {
    const complaints = new CompileComplaints();
    let count = 0;
    const onLine = (line: string): void => {
      complaints.add(line);
      this.#options.reporter.debug(line);
      if (COMPILED.test(line)) onCompiled((count += 1));
    };
    const env = { MAKEFLAGS: `-j${jobs()}` };
    try {
      for (const command of [recipe.before === undefined ? undefined : `./${recipe.before}`, recipe.make]) {
        if (command === undefined) continue;
        await runCompiling(['bash', '-c', command], this.#sandbox, { cwd, env, onLine, signal: this.#options.signal, label: 'make' });
      }
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
      throw compileFailure(this.#input, complaints, error);
    }
  }

  async #patch(name: string, text: string, directory: string): Promise<void> {
    try {
      await this.#run(patchArgv(directory), { stdin: text });
    } catch (error) {
      if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
      throw new IngotError('BUILD_FAILED', `the patch ${name} does not fit ${this.#title}`, {
        cause: error,
        ...(error.output !== undefined && { output: error.output }),
      });
    }
  }

  async #findSource(): Promise<string> {
    const folders: string[] = [];
    const below = 'package/usr/src';
    for (const name of await this.#fs.list(below)) {
      if (await this.#fs.exists(`${below}/${name}/dkms.conf`)) folders.push(name);
    }
    const [folder] = folders;
    if (folder !== undefined && folders.length === 1) return folder;
    throw new IngotError('BUILD_FAILED', `${this.#title} is no source of kernel modules: it has ${folders.length === 0 ? 'no' : 'more than one'} dkms.conf below /usr/src`, {
      hint: 'name a package as Debian makes them for DKMS, such as v4l2loopback-dkms',
    });
  }

  get #title(): string {
    const { source } = this.#input;
    return `${source.name} ${source.version}`;
  }

  async #run(program: Argv, options: { readonly cwd?: string; readonly stdin?: string; readonly withErrors?: boolean } = {}): Promise<string> {
    const { withErrors = false, ...rest } = options;
    const { stdout, stderr } = await runCompiling(program, this.#sandbox, { ...rest, signal: this.#options.signal });
    return withErrors ? `${stdout}\n${stderr}` : stdout;
  }
}

/** A line of kbuild that names an object, short or in full. */
const COMPILED = /^\s+CC \[M\]|\s-c -o \S+\.o\b/;

function jobs(): number {
  return Math.max(1, availableParallelism());
}

async function writeOwnFile(path: string, content: Uint8Array): Promise<void> {
  await writeFile(path, content, { flag: 'wx' });
  await chmod(path, 0o644);
}

/** Folders of an image, which have the mode that this process gives folders. */
async function makeFolders(root: string, names: readonly string[]): Promise<string> {
  let path = root;
  for (const name of names) {
    path = join(path, name);
    await mkdir(path, { recursive: true, mode: 0o755 });
  }
  return path;
}
