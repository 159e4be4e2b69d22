/**
 * Whether an initramfs that was made from the base, the kernel and its modules is the one that the whole image would
 * get. It is, unless another layer brings something that dracut would take or depmod would read: then the seal makes
 * both over the whole image.
 *
 * dracut takes what is in folders of its own and of kmod and udev; what its code names; what a program in the initramfs
 * is linked with; and the firmware of modules in it. All of these are told here by where a file is and what it is
 * called, so that a file too many is suspected, and none too few.
 */
import { lstatSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as z from 'zod';

import { isInitramfsPlace } from '../../plan/plan-initramfs.ts';
import type { RootFs } from '../root-fs.ts';
import { linkerFolders, matches, settlesModules } from './module-settings.ts';

/** What the step notes of its initramfs, for the seal. */
export const InitramfsNotes = z.object({
  /** Files and links in it, without a leading slash. */
  paths: z.array(z.string()),
  /** `namesInDracut`. */
  names: z.array(z.string()),
  /** What its modules ask for, relative to /usr/lib/firmware; globs among them. */
  firmware: z.array(z.string()),
  /** Files of other layers that it was made with, without a leading slash. */
  settings: z.array(z.string()),
});
export type InitramfsNotes = z.infer<typeof InitramfsNotes>;

/** In the step's tree, and in no layer. */
export const NOTES = '/run/ingot/initramfs.json';

export interface Influence {
  readonly layer: string;
  /** Relative to the root. */
  readonly path: string;
}

const SETTINGS = /^(?:etc|usr\/lib)\/modprobe\.d\/[^/]+\.conf$/;
const MODULES = 'usr/lib/modules/';
/** Beside them, packages keep marks of their own there. */
const INDEXED = /\.ko(?:\.\w+)?$|\/modules\.[^/]+$/;
const FIRMWARE = /^usr\/lib\/firmware\/(?:updates\/)?/;
const LINKER = /^etc\/ld\.so\.conf(?:\.d\/|$)/;
const PROGRAM = /^usr\/s?bin\/[^/]+$/;
const LIBRARY = /^usr\/lib(?:32|64)?\/(?:[^/]+-linux-[^/]+\/)?(?:(?:glibc-hwcaps|systemd)\/.*)?[^/]+\.so(?:\.[^/]*)?$/;
/** Where services, rules and fragments are that go into an initramfs one by one. */
const NAMED = /^(?:usr\/lib\/(?:systemd|udev|tmpfiles\.d|sysusers\.d)|etc\/udev)\//;
/** Not copied: an initramfs has accounts, a linker cache and a name of its own. */
const MADE_BY_DRACUT = /^(?:etc\/|usr\/lib\/(?:initrd|os)-release$)/;
/** Where any of these can be. */
const FOLDERS = [
  'etc',
  'usr/bin',
  'usr/sbin',
  'usr/lib/depmod.d',
  'usr/lib/dracut',
  'usr/lib/firmware',
  'usr/lib/modprobe.d',
  'usr/lib/modules',
  'usr/lib/modules-load.d',
  'usr/lib/ostree',
  'usr/lib/sysctl.d',
  'usr/lib/systemd',
  'usr/lib/sysusers.d',
  'usr/lib/tmpfiles.d',
  'usr/lib/udev',
];

/**
 * The first thing that the initramfs would be another with; undefined when there is none.
 *
 * @param fs the whole image, configured
 * @param beside layers that it was not made from
 * @param written what was written over them since, by package scripts among others
 */
export async function findInfluence(
  fs: RootFs,
  beside: readonly { readonly name: string; readonly root: string }[],
  written: string,
): Promise<Influence | undefined> {
  const notes = InitramfsNotes.parse(JSON.parse(await fs.readText(NOTES)));
  const judge = new Judge(fs, notes);
  const known = new Set(notes.settings);
  for (const { name, root } of beside) {
    for (const path of candidates(root)) {
      if (!known.has(path) && (await judge.concerns(path))) return { layer: name, path };
    }
  }
  for (const path of candidates(written)) {
    if (await judge.concerns(path)) return { layer: 'the seal', path };
  }
  return undefined;
}

function* candidates(root: string): Generator<string> {
  for (const folder of FOLDERS) yield* filesBelow(root, folder);
  // Libraries lie beside folders of other programs, which are many.
  for (const folder of ['usr/lib', 'usr/lib32', 'usr/lib64']) {
    for (const name of namesIn(root, folder)) {
      const path = join(folder, name);
      if (!name.includes('-linux-')) yield path;
      else {
        for (const inside of namesIn(root, path)) yield join(path, inside);
        yield* filesBelow(root, join(path, 'glibc-hwcaps'));
        yield* filesBelow(root, join(path, 'systemd'));
      }
    }
  }
}

/** Removals are among them. */
function* filesBelow(root: string, folder: string): Generator<string> {
  for (const name of namesIn(root, folder)) {
    const path = join(folder, name);
    if (lstatSync(join(root, path)).isDirectory()) yield* filesBelow(root, path);
    else yield path;
  }
}

/** Of what is really a folder of this tree. */
function namesIn(root: string, folder: string): string[] {
  const isFolder = lstatSync(join(root, folder), { throwIfNoEntry: false })?.isDirectory() === true;
  return isFolder ? readdirSync(join(root, folder)).sort() : [];
}

class Judge {
  readonly #fs: RootFs;
  readonly #paths: ReadonlySet<string>;
  /** Of files in it. */
  readonly #basenames: ReadonlySet<string>;
  readonly #names: ReadonlySet<string>;
  /** Such as `fsck*`, `libnss_*` and `libkmod.so*`. */
  readonly #globs: readonly string[];
  readonly #modules: ReadonlySet<string>;
  readonly #firmware: readonly string[];

  constructor(fs: RootFs, { paths, names, firmware }: InitramfsNotes) {
    this.#fs = fs;
    this.#paths = new Set(paths);
    this.#basenames = new Set(paths.map((path) => basename(path)));
    this.#names = new Set(names);
    // A glob with nothing before its first star says nothing of a file's name.
    this.#globs = names.filter((name) => /^\w{3,}.*\*/.test(name));
    this.#modules = new Set(
      paths
        .filter((path) => /\.ko(?:\.\w+)?$/.test(path))
        .map((path) => basename(path).replace(/\.ko.*$/, '').replaceAll('-', '_')),
    );
    this.#firmware = firmware;
  }

  async concerns(path: string): Promise<boolean> {
    if (path.startsWith(MODULES)) return INDEXED.test(path);
    if (SETTINGS.test(path)) return await this.#settles(path);
    if (FIRMWARE.test(path)) return this.#isWanted(path.replace(FIRMWARE, ''));
    if (LINKER.test(path)) return await this.#leadsTheLinker(path);
    if (isInitramfsPlace(path)) return true;
    if (this.#paths.has(path)) return !MADE_BY_DRACUT.test(path);
    const isNamed = PROGRAM.test(path) || LIBRARY.test(path) || NAMED.test(path);
    return isNamed && this.#isWantedByName(basename(path));
  }

  #isWantedByName(name: string): boolean {
    return (
      this.#names.has(name) || this.#basenames.has(name) || this.#globs.some((glob) => matches(glob, name))
    );
  }

  async #settles(path: string): Promise<boolean> {
    const text = await this.#fs.readTextIfPresent(`/${path}`);
    // Removed, or a link to nothing: only what was there can be missed.
    return text === undefined ? this.#paths.has(path) : settlesModules(text, this.#modules);
  }

  /** Processors get their own before anything else. */
  #isWanted(path: string): boolean {
    const file = path.replace(/\.(?:xz|zst)$/, '');
    return /^(?:amd|intel)-ucode\//.test(file) || this.#firmware.some((wanted) => matches(wanted, file));
  }

  /** To a library that something in the initramfs is linked with. */
  async #leadsTheLinker(path: string): Promise<boolean> {
    const folders = linkerFolders((await this.#fs.readTextIfPresent(`/${path}`)) ?? '');
    if (folders === undefined) return true;
    for (const folder of folders) {
      if ((await this.#fs.list(folder)).some((name) => this.#isWantedByName(name))) return true;
    }
    return false;
  }
}
