import { mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { RootFs } from './root-fs.ts';

let outer: string;
let root: string;
let fs: RootFs;

beforeEach(async () => {
  outer = await mkdtemp(join(tmpdir(), 'ingot-root-'));
  root = join(outer, 'root');
  await mkdir(join(root, 'etc'), { recursive: true });
  await mkdir(join(outer, 'outside'));
  fs = new RootFs(root);
});
afterEach(async () => {
  await rm(outer, { recursive: true, force: true });
});

describe('RootFs', () => {
  it('resolves absolute links inside the root', async () => {
    await symlink('/etc', join(root, 'config'));
    expect(await fs.resolve('/config/passwd')).toBe(join(root, 'etc/passwd'));
  });

  it('stops `..` at the root, in paths and in links', async () => {
    await symlink('../../../../outside', join(root, 'up'));
    expect(await fs.resolve('/up/x')).toBe(join(root, 'outside/x'));
    expect(await fs.resolve('/../../outside/x')).toBe(join(root, 'outside/x'));
  });

  it('writes in place of a link, not through it', async () => {
    await writeFile(join(outer, 'outside/host'), 'the host’s');
    await symlink(join(outer, 'outside/host'), join(root, 'etc/motd'));
    await fs.writeFile('/etc/motd', 'ours', 0o600, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    expect(await readFile(join(outer, 'outside/host'), 'utf8')).toBe('the host’s');
    expect(await fs.readText('/etc/motd')).toBe('ours');
  });

  it('says what is wrong when a directory stands where a file should, or a file where its folder should', async () => {
    await writeFile(join(root, 'etc/passwd'), '');
    for (const path of ['/etc', '/etc/passwd/x']) {
      await expect(fs.writeFile(path, 'x')).rejects.toMatchObject({
        code: 'BUILD_FAILED',
        message: expect.stringContaining(path) as string,
      });
    }
  });

  it('never leaves the root through a linked directory', async () => {
    await symlink(join(outer, 'outside'), join(root, 'etc/dir'));
    await fs.writeFile('/etc/dir/file', 'x', 0o644, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    await expect(readFile(join(outer, 'outside/file'))).rejects.toThrow('ENOENT');
  });

  it('refuses links that go in circles', async () => {
    await symlink('/b', join(root, 'a'));
    await symlink('/a', join(root, 'b'));
    await expect(fs.resolve('/a/x')).rejects.toMatchObject({ code: 'BUILD_FAILED' });
  });

  it('replaces a directory by a link and empties one without removing it', async () => {
    await mkdir(join(root, 'home/user'), { recursive: true });
    await fs.link('/home', 'var/home');
    expect(await readlink(join(root, 'home'))).toBe('var/home');
    await writeFile(join(root, 'etc/x'), '');
    await fs.empty('/etc');
    expect(await fs.list('/etc')).toEqual([]);
    expect(await fs.exists('/etc')).toBe(true);
    expect(await fs.exists('/nothing/there')).toBe(false);
    expect(await fs.readTextIfPresent('/etc/none')).toBeUndefined();
  });
});
