import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { FilePath } from '../../spec/schema.ts';
import { RootFs } from '../root-fs.ts';
import { kernelArgumentsToml, settleKernelFiles } from './boot.ts';
import { REMOVED, removeIdentity, withImageIdentity } from './identity.ts';
import { pathsInTmpfiles, varTmpfiles } from './var.ts';

let root: string;
let fs: RootFs;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot-seal-'));
  fs = new RootFs(root);
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

describe('varTmpfiles', () => {
  it('lists directories and links that no fragment makes, parents first, and no files', async () => {
    await mkdir(join(root, 'var/lib/a b/100%'), { recursive: true });
    await mkdir(join(root, 'var/lib/dpkg'), { recursive: true });
    await mkdir(join(root, 'var/cache/apt/archives'), { recursive: true });
    await mkdir(join(root, 'var/log'), { recursive: true });
    await writeFile(join(root, 'var/lib/state'), 'x');
    await symlink('../run', join(root, 'var/run'));
    const { uid, gid } = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
    const accounts = {
      users: [{ name: 'me', uid, gid, gecos: '', home: '/', shell: '/bin/sh' }],
      groups: [{ name: 'us', gid, members: [] }],
    };
    const lines = await varTmpfiles(fs, accounts, ['d /var/log 0755 - - -\nd /var/lib 0755\n']);
    expect(lines.replaceAll(/ 0\d{3} /g, ' MODE ').split('\n')).toEqual([
      'd /var/cache MODE me us -',
      'd /var/lib/a\\x20b MODE me us -',
      'd /var/lib/a\\x20b/100%% MODE me us -',
      'L /var/run - - - - ../run',
      '',
    ]);
  });

  it('does not follow a link out of the root', async () => {
    await mkdir(join(root, 'var'), { recursive: true });
    await symlink('/etc', join(root, 'var/escape'));
    const lines = await varTmpfiles(fs, { users: [], groups: [] }, []);
    expect(lines).toBe('L /var/escape - - - - /etc\n');
  });

  it('knows what fragments make', () => {
    expect([...pathsInTmpfiles(['d /a/ 0755\nq /b\n#d /c\nL+ /d - - - - x\nz /e\n'])]).toEqual(['/a', '/b', '/d']);
  });
});

describe('settleKernelFiles', () => {
  it('moves a kernel beside its modules, and leaves what has none', async () => {
    await mkdir(join(root, 'boot'));
    await mkdir(join(root, 'usr/lib/modules/6.1-x'), { recursive: true });
    for (const name of ['vmlinuz-6.1-x', 'config-6.1-x', 'System.map-6.1-x', 'vmlinuz-5.9-old']) {
      await writeFile(join(root, 'boot', name), name);
    }
    await settleKernelFiles(fs);
    expect(await fs.list('/usr/lib/modules/6.1-x')).toEqual(['System.map', 'config', 'vmlinuz']);
    expect(await fs.list('/boot')).toEqual(['vmlinuz-5.9-old']);
  });
});

describe('removeIdentity', () => {
  it('removes what makes a machine this machine', async () => {
    await mkdir(join(root, 'etc/ssh'), { recursive: true });
    await mkdir(join(root, 'boot'));
    await writeFile(join(root, 'boot/left'), '');
    for (const name of ['ssh/ssh_host_rsa_key', 'ssh/ssh_host_rsa_key.pub', 'ssh/sshd_config', 'passwd-', 'machine-id']) {
      await writeFile(join(root, 'etc', name), 'secret');
    }
    await removeIdentity(fs);
    expect(await fs.list('/etc/ssh')).toEqual(['sshd_config']);
    expect(await fs.list('/etc')).toEqual(['machine-id', 'ssh']);
    expect(await fs.readText('/etc/machine-id')).toBe('');
    expect(await fs.list('/boot')).toEqual([]);
  });
});

describe('image facts', () => {
  it('replace those of an earlier image in os-release', () => {
    const text = withImageIdentity('ID=debian\nIMAGE_ID=old\n', { imageName: 'node', version: '20261122.1' });
    expect(text).toBe('ID=debian\nIMAGE_ID="node"\nIMAGE_VERSION="20261122.1"\n');
  });

  it('hold kernel arguments as TOML', () => {
    expect(kernelArgumentsToml(['console=ttyS0', 'a="b"'])).toBe('kargs = ["console=ttyS0","a=\\"b\\""]\n');
  });
});

it('what the seal removes cannot be declared', () => {
  const removed = REMOVED.filter((path) => /^\/(?:etc|usr)\//.test(path));
  expect(removed.filter((path) => FilePath.safeParse(path).success)).toEqual([]);
  expect(FilePath.safeParse('/etc/apt/apt.conf.d/50-mine').success).toBe(true);
});
