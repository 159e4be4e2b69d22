/**
 * What the installer brings besides the image's own kernel and initramfs: Ingot with its Node.js, and a few programs of
 * the tools root with the libraries that they are linked with. Everything lies in a folder of its own and is started
 * through its own loader, so that nothing of it meets what the initramfs has.
 */
import { createWriteStream } from 'node:fs';
import { lstat, readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';

import type { Agent } from '../../agent/agent.ts';
import { IngotError } from '../../errors.ts';
import type { DiskTools } from '../../ostree/disk-tools.ts';
import { lddArgv, parseLdd } from '../../tools/ldd.ts';
import { renderInstallService, renderInstallTarget, INSTALL_TARGET } from './boot-files.ts';
import { renderNewc, type NewcEntry } from './newc.ts';

/** In the initramfs. */
const HOME = 'usr/lib/ingot-installer';
/** First in the path that every program of ours is looked for in, and empty in an initramfs. */
const COMMANDS = 'usr/local/sbin';

/** Programs of the tools root by their paths there. */
const PROGRAMS = [
  '/usr/sbin/sfdisk',
  '/usr/sbin/e2fsck',
  '/usr/sbin/tune2fs',
  '/usr/sbin/resize2fs',
  '/usr/sbin/blockdev',
] as const;
const NODE = '/run/ingot/node';

/** Files of the agent that the installer takes. */
const PRODUCT_FILES: readonly string[] = ['ingot-node.mjs', 'package.json'];

/** Writes the archive that the kernel unpacks over the image's initramfs. `scratch` is a folder of ours. */
export async function writeInstallerArchive(
  output: string,
  agent: Agent,
  scratchNode: string,
  tools: DiskTools,
): Promise<void> {
  const entries = await collectEntries(agent, scratchNode, tools);
  const compress = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 9 } });
  await pipeline(Readable.from(renderNewc(entries)), compress, createWriteStream(output, { flags: 'wx' }));
}

async function collectEntries(agent: Agent, node: string, tools: DiskTools): Promise<NewcEntry[]> {
  const libraries = new Map<string, Uint8Array>();
  let loader: string | undefined;
  for (const program of [...PROGRAMS, NODE]) {
    const { stdout } = await tools.run(lddArgv(program), [{ path: node, target: NODE, readOnly: true }]);
    const linked = parseLdd(stdout);
    loader ??= basename(linked.loader);
    for (const path of [...linked.libraries, linked.loader]) {
      const name = basename(path);
      if (!libraries.has(name)) libraries.set(name, await readInRoot(tools.root.path, path));
    }
  }
  if (loader === undefined) throw new TypeError('there are programs');
  const files = new Map<string, NewcEntry>();
  const add = (path: string, contents: Uint8Array | string, mode = 0o644): void => {
    files.set(path, { path, contents: Buffer.from(contents), mode });
  };
  for (const [name, bytes] of libraries) add(`${HOME}/lib/${name}`, bytes, name === loader ? 0o755 : 0o644);
  for (const program of PROGRAMS) {
    const name = basename(program);
    add(`${HOME}/bin/${name}`, await readInRoot(tools.root.path, program), 0o755);
    add(`${COMMANDS}/${name}`, renderStarter(loader, `bin/${name}`), 0o755);
  }
  for (const file of agent.files) {
    if (PRODUCT_FILES.includes(file.name)) add(`${HOME}/${file.name}`, file.data);
    if (file.name === 'node') add(`${HOME}/bin/node`, file.data, 0o755);
  }
  add(`${COMMANDS}/ingot`, renderStarter(loader, 'bin/node', `/${HOME}/ingot-node.mjs`), 0o755);
  add(`etc/systemd/system/${INSTALL_TARGET}`, renderInstallTarget());
  add('etc/systemd/system/ingot-install.service', renderInstallService());
  return [...foldersOf(files.keys()), ...files.values()];
}

/** A shell script, since the kernel knows but one place for a program's loader. */
export function renderStarter(loader: string, program: string, ...args: readonly string[]): string {
  const words = [`/${HOME}/lib/${loader}`, '--library-path', `/${HOME}/lib`, `/${HOME}/${program}`, ...args];
  return `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`;
}

/** All folders above `paths`, each before what is in it. */
export function foldersOf(paths: Iterable<string>): NewcEntry[] {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) folders.add(folder);
  }
  return [...folders].sort().map((path) => ({ path, contents: 'folder' }));
}

/** Links in a root of packages lead to other places in it. */
async function readInRoot(root: string, path: string): Promise<Uint8Array> {
  const real = await realpath(join(root, path.replace(/^\/lib/, '/usr/lib')));
  if (relative(await realpath(root), real).startsWith('..') || !(await lstat(real)).isFile()) {
    throw new IngotError('DISK_FAILED', `${path} of the tools root leads out of it`);
  }
  return readFile(real);
}
