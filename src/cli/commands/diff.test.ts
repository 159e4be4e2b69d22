import { link, mkdtemp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runInProcess } from '../../../test/support/in-process.ts';
import { packLayer, writeSmallImage, writeTree, type SmallLayer } from '../../../test/support/small-image.ts';
import type { ImageDifference } from '../../compare/compare-images.ts';
import { hexOf } from '../../digest.ts';
import { FindingsError } from '../../errors.ts';
import { resolveImage } from '../../oci/layout.ts';
import { run } from '../../proc/run.ts';

const STATUS = 'usr/lib/sysimage/dpkg/status';
const stanza = (name: string, version: string): string =>
  `Package: ${name}\nStatus: install ok installed\nSource: ${name}-src (1)\nInstalled-Size: 4\nVersion: ${version}\n\n`;

let scratch: string;
let base: SmallLayer;
let before: string;
let after: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-diff-'));
  base = await packLayer(scratch, 'base', (tree) =>
    writeTree(tree, {
      'etc/motd': 'hello\n',
      'etc/passwd': 'root:x:0:0::/root:/bin/sh\n',
      'usr/bin/kept': 'kept',
      'usr/bin/gone': 'gone',
      'usr/share/opaque/old': 'old',
    }),
  );
  const own = (name: string, files: Record<string, string>, more?: (tree: string) => Promise<unknown>) =>
    packLayer(scratch, name, async (tree) => {
      await writeTree(tree, files);
      await more?.(tree);
    });
  const kernel = {
    'usr/lib/modules/6.1/vmlinuz': 'kernel',
    'usr/lib/modules/6.1/initramfs.img': 'initramfs',
  };
  before = await writeSmallImage(
    join(scratch, 'before'),
    [
      base,
      await own('seal', {
        ...kernel,
        [STATUS]: stanza('bash', '5.2-1') + stanza('nano', '8') + stanza('vim', '9.1-2'),
        'usr/lib/sysimage/dpkg/info/nano.list': '/.\n/usr/bin/nano\n',
        'usr/bin/nano': 'nano',
        'usr/bin/kept': 'kept',
        'usr/lib/bootc/kargs.d/10-base.toml': 'kargs = ["quiet"]\n',
        'usr/lib/systemd/system/old.service': '[Unit]',
        'usr/lib/systemd/system/same.service': '[Unit]',
      }),
    ],
    { 'org.opencontainers.image.title': 'node', 'org.opencontainers.image.version': '1' },
  );
  after = await writeSmallImage(
    join(scratch, 'after'),
    [
      base,
      await own(
        'seal',
        {
          ...kernel,
          [STATUS]: stanza('bash', '5.2-2') + stanza('htop', '3') + stanza('vim', '9.1-1'),
          // Debian's packages may still name /bin, which is a link to /usr/bin.
          'usr/lib/sysimage/dpkg/info/htop.list': '/.\n/bin/htop\n',
          'usr/bin/htop': 'htop',
          'usr/bin/.wh.gone': '',
          'usr/share/opaque/.wh..wh..opq': '',
          'usr/share/opaque/new': 'new',
          'etc/passwd': 'root:x:0:0::/root:/bin/sh\nops:x:1000:1000::/home/ops:/bin/bash\n',
          'usr/lib/bootc/kargs.d/10-base.toml': 'kargs = ["debug"]\n',
          'usr/lib/systemd/system/new.service': '[Unit]',
          'usr/lib/systemd/system/same.service': '[Unit]\n# changed',
          'usr/bin/\u001b[31mred<b>': '',
        },
        async (tree) => {
          await mkdir(join(tree, 'etc/systemd/system/multi-user.target.wants'), { recursive: true });
          await symlink(
            '/usr/lib/systemd/system/new.service',
            join(tree, 'etc/systemd/system/multi-user.target.wants/new.service'),
          );
          await symlink('/dev/null', join(tree, 'etc/systemd/system/same.service'));
          await link(join(tree, 'usr/bin/htop'), join(tree, 'usr/bin/top'));
        },
      ),
    ],
    {
      'org.opencontainers.image.title': 'node',
      'org.opencontainers.image.version': '2',
      'dev.ingot.kernel': '6.1',
      'dev.ingot.gpus': '[{"name":"l40s","pci":["10de:26b9"]}]',
    },
  );
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

async function differenceOf(from: string, to: string): Promise<ImageDifference> {
  const { stdout } = await runInProcess(scratch, ['diff', from, to, '--json']);
  return JSON.parse(stdout) as ImageDifference;
}

describe('two images', () => {
  it('packages, with direction and source', async () => {
    const { packages } = await differenceOf(before, after);
    expect(packages?.added).toEqual([{ name: 'htop', version: '3', source: 'htop-src', bytes: 4096 }]);
    expect(packages?.removed.map(({ name }) => name)).toEqual(['nano']);
    expect(packages?.changed).toMatchObject([
      { name: 'bash', from: '5.2-1', to: '5.2-2', direction: 'newer' },
      { name: 'vim', from: '9.1-2', to: '9.1-1', direction: 'older' },
    ]);
  });

  it('files, against what both have below, with whiteouts and hard links', async () => {
    const { files = [] } = await differenceOf(before, after);
    const seen = new Map(files.map((file) => [file.path, file]));
    const change = (path: string): string | undefined => seen.get(path)?.change;
    expect(change('usr/bin/htop')).toBe('added');
    expect(seen.get('usr/bin/htop')?.package).toBe('htop');
    expect(seen.get('usr/bin/top')?.to).toEqual(seen.get('usr/bin/htop')?.to);
    expect(seen.get('usr/bin/nano')).toMatchObject({ change: 'removed', package: 'nano' });
    expect(change('usr/bin/gone')).toBe('removed');
    expect(change('usr/share/opaque/old')).toBe('removed');
    expect(change('usr/share/opaque/new')).toBe('added');
    // In the base of both, and covered by the same bytes in one of them.
    expect(change('usr/bin/kept')).toBeUndefined();
    expect(seen.get('etc/passwd')).toMatchObject({ change: 'changed', what: ['content'] });
    expect(change('etc/motd')).toBeUndefined();
    expect([...seen.keys()].filter((path) => path.includes('.wh.'))).toEqual([]);
  });

  it('services, users, kernel arguments, GPUs and why to reboot', async () => {
    const difference = await differenceOf(before, after);
    expect(difference.units).toEqual([
      { name: 'new.service', changes: ['added', 'enabled'] },
      { name: 'old.service', changes: ['removed'] },
      { name: 'same.service', changes: ['changed', 'masked'] },
    ]);
    expect(difference.users?.added.map(({ name }) => name)).toEqual(['ops']);
    expect(difference.kernelArguments).toEqual({ added: ['debug'], removed: ['quiet'] });
    expect(difference.gpus?.gained).toEqual([{ name: 'l40s', pci: ['10de:26b9'] }]);
    expect(difference.reboot.kind).toBe('full');
    expect(difference.reboot.reasons).toContain('kernel arguments change');
  });

  it('what a node pulls: the blobs of the new image that the old one lacks', async () => {
    const { pull } = await differenceOf(before, after);
    const { manifest } = await resolveImage(after);
    const [shared, seal] = manifest.layers;
    expect(pull?.blobs.map(({ layer, digest }) => [layer, digest])).toEqual([['seal', seal?.digest]]);
    expect(pull).toMatchObject({ bytes: seal?.size, reused: shared?.size });
    const shares = pull?.blobs[0]?.shares ?? [];
    const sum = shares.reduce((total, { bytes }) => total + bytes, 0);
    expect(Math.abs(sum - (seal?.size ?? 0))).toBeLessThanOrEqual(shares.length);
    expect(shares.find(({ what }) => what === 'htop')).toMatchObject({ isPackage: true, carried: 0 });
  });

  it('an archive of a layout is the same image', async () => {
    await run(['tar', '-C', join(scratch, 'after'), '-cf', join(scratch, 'after.tar'), '.']);
    const difference = await differenceOf(after, 'oci-archive:after.tar');
    expect(difference).toMatchObject({ isSame: true, to: { digest: difference.from.digest } });
    expect((await differenceOf(before, 'after.tar')).files).toEqual(
      (await differenceOf(before, after)).files,
    );
  });

  it('the other way round, what came goes', async () => {
    const [there, back] = [await differenceOf(before, after), await differenceOf(after, before)];
    const paths = (difference: ImageDifference, change: string): string[] =>
      (difference.files ?? []).filter((file) => file.change === change).map(({ path }) => path);
    expect(paths(back, 'removed')).toEqual(paths(there, 'added'));
    expect(paths(back, 'changed')).toEqual(paths(there, 'changed'));
    expect(back.packages?.added.map(({ name }) => name)).toEqual(['nano']);
    expect(back.gpus?.lost).toEqual(there.gpus?.gained);
  });

  it('the same image is the same', async () => {
    const difference = await differenceOf(before, before);
    expect(difference).toMatchObject({
      isSame: true,
      files: [],
      reboot: { kind: 'none' },
      pull: { bytes: 0 },
    });
    const { stdout, exitCode } = await runInProcess(scratch, ['diff', before, before, '--exit-code']);
    expect(stdout).toContain('They are the same.');
    expect(exitCode).toBe(0);
    expect((await runInProcess(scratch, ['diff', before, after, '--exit-code'])).exitCode).toBe(1);
  });

  it('text and page say it, and no name steers the terminal or the page', async () => {
    const { stdout, exitCode } = await runInProcess(scratch, ['diff', before, after, '--html', 'page.html']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('full reboot');
    expect(stdout).toMatch(/~ vim +9\.1-2 → 9\.1-1 {2}\(older\)/);
    expect(stdout).toContain('\\u{1b}[31mred<b>');
    expect(stdout).not.toContain('\u001b');
    const page = await readFile(join(scratch, 'page.html'), 'utf8');
    expect(page).toContain('<svg class="map"');
    expect(page).not.toContain('red<b>');
    expect(page).not.toContain('\u001b');
    expect(page).not.toMatch(/<script|<link|https?:/);
  });
});

describe('what cannot be read', () => {
  it('is told of both sides at once, with exit code 2', async () => {
    const failure = await runInProcess(scratch, ['diff', 'nothing', 'none.lock.yaml']).catch(
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(FindingsError);
    expect((failure as FindingsError).findings.map(({ code }) => code)).toEqual([
      'IMAGE_UNREADABLE',
      'LOCK_MISSING',
    ]);
  });

  const broken = async (name: string, archive: Buffer): Promise<string> =>
    writeSmallImage(join(scratch, name), [base, { archive }]);

  it.each([
    ['no archive', Buffer.alloc(1024, 'x'), /wrong checksum/],
    ['a truncated archive', Buffer.alloc(700), /middle of an entry/],
  ])('%s in a layer', async (name, archive, expected) => {
    const image = await broken(name.replaceAll(' ', '-'), archive);
    await expect(runInProcess(scratch, ['diff', before, image])).rejects.toMatchObject({
      code: 'IMAGE_UNREADABLE',
      message: expect.stringMatching(expected) as string,
    });
  });

  it('a layer that is not what its digest says', async () => {
    const image = await broken('damaged', Buffer.alloc(1024));
    const { manifest, blobPath } = await resolveImage(image);
    const layer = manifest.layers.at(-1);
    if (layer === undefined) throw new TypeError('no layer');
    const blob = await readFile(blobPath(layer.digest));
    blob[blob.length - 1] = (blob.at(-1) ?? 0) ^ 1;
    await writeFile(join(scratch, 'damaged/blobs/sha256', hexOf(layer.digest)), blob);
    await expect(runInProcess(scratch, ['diff', before, image])).rejects.toMatchObject({
      code: 'IMAGE_UNREADABLE',
    });
  });
});
