/**
 * One real image for all tests that need one, built by the real program from the real mirror, in a store of the
 * tests' own that later runs find again. Its folder has spaces and letters that are not ASCII on purpose.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';

import { acquireFileLock } from '../../src/proc/file-lock.ts';
import { writeFileAtomically } from '../../src/store/store.ts';
import { ingot, ingotJson, PRODUCT_ROOT, type CliOptions } from './cli.ts';
import { testRun } from './test-run.ts';

export const TEST_FOLDER = join(
  process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'),
  'ingot-tests/für alle',
);
export const TEST_STORE = join(TEST_FOLDER, 'store');

export interface BuiltImage {
  /** The declaration; its lock stands beside it. */
  readonly declaration: string;
  readonly store: string;
  readonly layout: string;
  readonly ref: string;
  readonly digest: string;
  readonly version: string;
}

/**
 * Builds `images/debian-minimal.yaml`, or another of the product's images. The lock of an earlier run is used as long
 * as it holds: mirrors forget packages, and then it is made afresh. Test files run beside each other: one builds, the
 * others wait and find it, and nobody ever reads half a declaration.
 */
export async function builtImage(name = 'debian-minimal', options: CliOptions = {}): Promise<BuiltImage> {
  const read = (file: string): Promise<string> => readFile(join(PRODUCT_ROOT, 'images', file), 'utf8');
  const text = await read(`${name}.yaml`);
  const beside = new Map<string, string>();
  for (let extended = extendedBy(text); extended !== undefined;) {
    const found = await read(extended);
    beside.set(extended, found);
    extended = extendedBy(found);
  }
  return buildDeclared(name, text, options, beside);
}

function extendedBy(declaration: string): string | undefined {
  return /^extends: \.\/(\S+)$/m.exec(declaration)?.[1];
}

/** The same for a declaration of a test's own, and files beside it. Once for each run, by whoever asks first. */
export async function buildDeclared(
  name: string,
  text: string,
  options: CliOptions = {},
  beside: ReadonlyMap<string, string> = new Map(),
): Promise<BuiltImage> {
  const folder = join(TEST_FOLDER, name === 'debian-minimal' ? 'image' : name);
  await mkdir(folder, { recursive: true });
  const declaration = join(folder, `${name}.yaml`);
  await using _building = await acquireFileLock(join(folder, 'lock'));
  for (const [file, content] of new Map([...beside, [basename(declaration), text]])) {
    const present = await readFile(join(folder, file), 'utf8').catch(() => undefined);
    if (content !== present) await writeFileAtomically(join(folder, file), content);
  }
  return await oncePerRun(folder, async () => {
    const layout = join(folder, 'layout');
    const build = ['--store', TEST_STORE, 'build', declaration, '--output', layout];
    const first = await ingot([...build, '--json'], options);
    if (first.exitCode === 0) {
      return builtFrom(declaration, layout, JSON.parse(first.stdout) as Record<string, unknown>);
    }
    await ingotJson(['--store', TEST_STORE, 'lock', declaration, '--update']);
    return builtFrom(declaration, layout, await ingotJson(build, options));
  });
}

/** @param result of `ingot build --json` in the tests' store */
export function builtFrom(
  declaration: string,
  layout: string,
  result: Readonly<Record<string, unknown>>,
): BuiltImage {
  const version = String(result['version']);
  const digest = String(result['digest']);
  return { declaration, store: TEST_STORE, layout, ref: `oci:${layout}:${version}`, digest, version };
}

/**
 * What this run has built in this folder, by whichever of its files came first. The caller has the folder locked.
 *
 * @throws {Error} of `build`, and the next one tries again
 */
export async function oncePerRun(folder: string, build: () => Promise<BuiltImage>): Promise<BuiltImage> {
  const name = testRun();
  const path = join(folder, 'built.json');
  const before = (await readFile(path, 'utf8').then(JSON.parse, () => undefined)) as
    { readonly run: string; readonly image: BuiltImage } | undefined;
  if (name !== undefined && before?.run === name) return before.image;
  const image = await build();
  if (name !== undefined) await writeFileAtomically(path, JSON.stringify({ run: name, image }));
  return image;
}
