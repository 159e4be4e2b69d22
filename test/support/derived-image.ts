/**
 * The shared real image with one more layer on top, made by GNU tar: what importing layers can get wrong. Also the
 * tools root that belongs to it.
 */
import { chmod, chown, cp, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { ensureToolsRoot } from '../../src/build/tools-tree.ts';
import { digestOf, hexOf } from '../../src/digest.ts';
import { loadLock, lockPathOf } from '../../src/cli/load-lock.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { MEDIA_TYPES } from '../../src/oci/schema.ts';
import { loadMirrors, type Mirrors } from '../../src/packages/mirror.ts';
import { run } from '../../src/proc/run.ts';
import { silentReporter } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import type { ToolsRoot } from '../../src/tools/tools-root.ts';
import type { BuiltImage } from './built-image.ts';

/** Owner of a file in the extra layer: beyond what a plain tar header holds. */
export const LARGE_UID = 4_000_000;
/** Checks that the extra layer brings: they hold on a node when every file arrived as it was packed. */
const HEALTH = [
  { name: 'capability-kept', run: 'getcap /usr/bin/capable | grep -q cap_net_raw', timeoutSeconds: 10 },
  { name: 'hard-link-kept', run: 'test /usr/lib/derived/one -ef /usr/lib/derived/two', timeoutSeconds: 10 },
  {
    name: 'owner-kept',
    run: `test "$(stat -c %u /usr/lib/derived/owned)" = ${LARGE_UID}`,
    timeoutSeconds: 10,
  },
  { name: 'setuid-kept', run: 'test "$(stat -c %a /usr/bin/setuid)" = 4755', timeoutSeconds: 10 },
  { name: 'whiteout-applied', run: 'test ! -e /usr/bin/yes', timeoutSeconds: 10 },
  {
    name: 'folder-mode-applied',
    run: 'test "$(stat -c %a /usr/share/common-licenses)" = 750',
    timeoutSeconds: 10,
  },
  { name: 'name-kept', run: 'test -f "/usr/lib/derived/grüße an alle"', timeoutSeconds: 10 },
  { name: 'arguments-kept', run: 'grep -q "console=tty0 .*derived=yes" /proc/cmdline', timeoutSeconds: 10 },
];

export const EXTRA_CHECKS: readonly string[] = HEALTH.map(({ name }) => name);

/** Writes an OCI layout with the shared image and the extra layer to `layout`. */
export async function deriveImage(base: BuiltImage, layout: string): Promise<string> {
  const tree = `${layout}.tree`;
  await packExtraTree(tree);
  const archive = `${layout}.tar`;
  const names = ['--sort=name', '--format=pax', '--xattrs', '--xattrs-include=*', '--numeric-owner'];
  await run(['tar', '-C', tree, ...names, '-cf', archive, '.']);
  const plain = await readFile(archive);

  const image = await resolveImage(base.ref);
  await run(['cp', '--archive', base.layout, layout]);
  const addBlob = async (data: Uint8Array | string): Promise<{ digest: string; size: number }> => {
    const digest = digestOf(data);
    await writeFile(join(layout, 'blobs/sha256', hexOf(digest)), data);
    return { digest, size: Buffer.byteLength(data) };
  };
  // The others are zstd.
  const layer = { mediaType: MEDIA_TYPES.layerGzip, ...(await addBlob(gzipSync(plain))) };
  const { config, manifest } = image;
  const diffIds = [...config.rootfs.diff_ids, digestOf(plain)];
  const configBlob = await addBlob(
    JSON.stringify({ ...config, rootfs: { type: 'layers', diff_ids: diffIds }, history: [] }),
  );
  const manifestBlob = await addBlob(
    JSON.stringify({
      ...manifest,
      config: { mediaType: manifest.config.mediaType, ...configBlob },
      layers: [...manifest.layers, layer],
    }),
  );
  const descriptor = { mediaType: image.descriptor.mediaType, ...manifestBlob };
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
  for (const path of [tree, archive]) await rm(path, { recursive: true });
  return `oci:${layout}`;
}

async function packExtraTree(tree: string): Promise<void> {
  const inside = (path: string): string => join(tree, path);
  for (const folder of ['bin', 'lib/derived', 'lib/ingot', 'lib/bootc/kargs.d', 'share/common-licenses']) {
    await mkdir(inside(`usr/${folder}`), { recursive: true });
  }
  await chmod(inside('usr/share/common-licenses'), 0o750);
  await cp('/bin/true', inside('usr/bin/capable'));
  await run(['setcap', 'cap_net_raw+ep', inside('usr/bin/capable')]);
  await writeFile(inside('usr/bin/setuid'), '');
  await chmod(inside('usr/bin/setuid'), 0o4755);
  await writeFile(inside('usr/bin/.wh.yes'), '');
  await writeFile(inside('usr/lib/derived/one'), 'one file, two names');
  await link(inside('usr/lib/derived/one'), inside('usr/lib/derived/two'));
  await writeFile(inside('usr/lib/derived/grüße an alle'), '');
  await writeFile(inside('usr/lib/derived/owned'), '');
  await chown(inside('usr/lib/derived/owned'), LARGE_UID, LARGE_UID);
  await writeFile(inside('usr/lib/ingot/health.json'), JSON.stringify(HEALTH));
  await writeFile(inside('usr/lib/bootc/kargs.d/90-derived.toml'), 'kargs = ["derived=yes"]\n');
}

/** The tools that the shared image's lock names. */
export async function testTools(base: BuiltImage): Promise<{ store: Store; toolsRoot: ToolsRoot }> {
  const store = await Store.open(base.store);
  await using _inUse = await store.use();
  const lock = await loadLock(lockPathOf(base.declaration));
  const mirrors = (): Promise<Mirrors> => loadMirrors(process.env);
  return { store, toolsRoot: await ensureToolsRoot({ lock, store, mirrors, reporter: silentReporter }) };
}
