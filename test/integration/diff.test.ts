/** What an update is, told of real images: built from the real mirror, and pulled from Debian's registry. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { ImageDifference } from '../../src/compare/compare-images.ts';
import { hexOf } from '../../src/digest.ts';
import { resolveImage } from '../../src/oci/layout.ts';
import { run } from '../../src/proc/run.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson } from '../support/cli.ts';
import { startRegistry } from '../support/registry.ts';
import { packLayer, writeSmallImage, writeTree } from '../support/small-image.ts';

const diff = async (...args: string[]): Promise<ImageDifference> =>
  (await ingotJson(['diff', ...args])) as unknown as ImageDifference;

describe('a package, a unit and a user more', () => {
  let image: BuiltImage;
  let folder: string;
  let declaration: string;
  let before: string;
  let ref: string;

  beforeAll(async () => {
    image = await builtImage();
    mkdirSync(join(image.store, '../scratch'), { recursive: true });
    folder = mkdtempSync(join(image.store, '../scratch/diff-'));
    // Other tests write to the shared layout, and may put another image there meanwhile.
    await run(['cp', '--archive', '--link', image.layout, join(folder, 'before')]);
    before = `oci:${join(folder, 'before')}:${image.version}`;
    declaration = join(folder, 'debian-minimal.yaml');
    const more = [
      'users: [{ name: ops }]',
      'units: [{ name: hello.service, enabled: true, content: "[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n" }]',
    ];
    const text = readFileSync(image.declaration, 'utf8').replace('packages: []', 'packages: [htop]');
    writeFileSync(declaration, `${text}\n${more.join('\n')}\n`);
    // From the image's own lock, as an update is made.
    copyFileSync(
      image.declaration.replace('.yaml', '.lock.yaml'),
      declaration.replace('.yaml', '.lock.yaml'),
    );
    const store = ['--store', image.store];
    await ingotJson([...store, 'lock', declaration]);
    const plan = await ingotJson([...store, 'plan', declaration]);
    const reasons = Object.fromEntries(
      (plan['steps'] as { name: string; reasons: { text: string }[] }[]).map((step) => [
        step.name,
        step.reasons.map(({ text: reason }) => reason),
      ]),
    );
    // Nothing when an earlier run left the layers in the store.
    if (reasons['packages']?.length !== 0) expect(reasons['packages']).toEqual(['new in this image']);
    if (reasons['seal']?.length !== 0)
      expect(reasons['seal']?.join()).toMatch(/users changed; ?|units changed/);
    const built = await ingotJson([...store, 'build', declaration, '--output', join(folder, 'layout')]);
    ref = String(built['ref']);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('is just that, with a soft reboot and few bytes to pull', async () => {
    const difference = await diff(before, ref);
    expect(difference.packages?.added.map(({ name }) => name)).toEqual(['htop']);
    expect(difference.packages).toMatchObject({ removed: [], changed: [] });
    expect(difference.units).toEqual([{ name: 'hello.service', changes: ['added', 'enabled'] }]);
    expect(difference.users).toMatchObject({ added: [{ name: 'ops', id: 1000 }], removed: [], changed: [] });
    expect(difference.reboot).toEqual({ kind: 'soft', reasons: [] });
    const htop = (difference.files ?? []).filter((file) => file.package === 'htop');
    expect(htop.map(({ path }) => path)).toContain('usr/bin/htop');
    expect(new Set(htop.map(({ change }) => change))).toEqual(new Set(['added']));
    expect((difference.files ?? []).filter(({ change }) => change === 'removed')).toEqual([]);
    const [old, after] = [await resolveImage(before), await resolveImage(ref)];
    const had = new Set(old.manifest.layers.map(({ digest }) => digest));
    const pulled = after.manifest.layers.filter(({ digest }) => !had.has(digest));
    expect(difference.pull?.bytes).toBe(pulled.reduce((sum, { size }) => sum + size, 0));
    expect(difference.pull?.bytes).toBeLessThan((difference.pull?.size.to ?? 0) / 4);
  });

  it('is told of the locks as far as they know it', async () => {
    const difference = await diff(image.declaration, declaration);
    expect(difference.packages?.added.map(({ name }) => name)).toEqual(['htop']);
    expect(difference.files).toBeUndefined();
    expect(difference.reboot.kind).toBe('unknown');
    expect(difference.untold.join()).toContain('known of images alone');
    const mixed = await diff(image.declaration, ref);
    expect(mixed.packages?.added.map(({ name }) => name)).toEqual(['htop']);
    expect(mixed.packages).toMatchObject({ removed: [], changed: [] });
  });

  it('is nothing against itself', async () => {
    expect(await diff(ref, ref)).toMatchObject({ isSame: true, files: [], reboot: { kind: 'none' } });
    const { stdout } = await ingot(['diff', declaration, declaration]);
    expect(stdout).toContain('They are the same.');
  });
});

describe('images in a registry', () => {
  it('are compared without what both have', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ingot-diff-'));
    await using registry = await startRegistry();
    try {
      const base = await packLayer(folder, 'base', (tree) => writeTree(tree, { 'usr/bin/below': 'below' }));
      const own = (files: Record<string, string>): ReturnType<typeof packLayer> =>
        packLayer(folder, 'seal', (tree) => writeTree(tree, files));
      const one = await writeSmallImage(join(folder, 'one'), [base, await own({ 'usr/bin/gone': '' })]);
      const two = await writeSmallImage(join(folder, 'two'), [base, await own({ 'usr/bin/new': 'new' })]);
      const at = (name: string): string => `${registry.host}/node:${name}`;
      const plain = ['--insecure', registry.host];
      await ingotJson(['copy', one, at('one'), ...plain]);
      await ingotJson(['copy', two, at('two'), ...plain]);
      const shared = (await resolveImage(two)).manifest.layers[0];
      if (shared === undefined) throw new TypeError('no layer');
      const hex = hexOf(shared.digest);
      await rm(join(registry.root, 'data/docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex), {
        recursive: true,
      });

      const difference = await diff(at('one'), at('two'), ...plain);
      expect(difference.files?.map(({ path, change }) => [path, change])).toEqual([
        ['usr/bin/gone', 'removed'],
        ['usr/bin/new', 'added'],
      ]);
      expect(difference.pull).toMatchObject({ reused: shared.size });
      expect(difference.untold.join()).toContain('were not read');
      // With one of them at hand everything is known.
      const local = await diff(one, at('two'), ...plain);
      expect(local.untold.join()).not.toContain('were not read');

      const refused = await ingot(['diff', at('one'), at('none'), ...plain]);
      expect([refused.exitCode, refused.stderr]).toEqual([2, expect.stringContaining('IMAGE_UNREADABLE')]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
