import { chmod, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { type CpioFile, renderCpio } from '../../test/support/cpio.ts';
import { createReporter } from '../report/events.ts';
import { assertLints, type LintOutcome, LINTS, runLints } from './lint.ts';

const RELEASE = '6.12.1-cloud-amd64';
const FACTS = { kernelRelease: RELEASE };
const CONF = '[sysroot]\nreadonly = true\n';
const STATUS = (name: string): string =>
  `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n`;

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ingot lint-ü-'));
  await makeSoundRoot();
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function write(path: string, contents: string | Buffer = '', mode = 0o644): Promise<void> {
  await mkdir(join(root, dirname(path)), { recursive: true });
  await writeFile(join(root, path), contents);
  await chmod(join(root, path), mode);
}

async function link(path: string, target: string): Promise<void> {
  await rm(join(root, path), { recursive: true, force: true });
  await symlink(target, join(root, path));
}

const initramfs = (files: readonly CpioFile[]): Buffer =>
  Buffer.concat([renderCpio([{ path: 'kernel/x86/microcode/x.bin' }]), zstdCompressSync(renderCpio(files))]);

const INITRAMFS: readonly CpioFile[] = [
  { path: `usr/lib/modules/${RELEASE}/kernel/ext4.ko.xz`, contents: 'module' },
  { path: 'usr/lib/ostree/ostree-prepare-root', mode: 0o100755, contents: 'ELF' },
  { path: 'usr/lib/ostree/prepare-root.conf', contents: CONF },
];

async function makeSoundRoot(): Promise<void> {
  const directories = ['boot', 'dev', 'etc', 'opt', 'proc', 'run', 'sys', 'sysroot', 'tmp', 'usr/local', 'var'];
  for (const path of directories) await mkdir(join(root, path), { recursive: true });
  await chmod(join(root, 'tmp'), 0o1777);
  for (const name of ['bin', 'sbin', 'lib']) await link(name, `usr/${name}`);
  for (const name of ['home', 'srv', 'mnt']) await link(name, `var/${name}`);
  await link('root', 'var/roothome');
  await link('media', 'run/media');
  await link('ostree', 'sysroot/ostree');
  await write('etc/machine-id');
  // Whoever runs the tests owns the files, and is root in this image.
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
  await write('etc/passwd', `root:x:${uid}:${gid}:root:/root:/bin/bash\n_chrony:x:999:999::/:/usr/sbin/nologin\n`);
  await write('etc/group', `root:x:${gid}:\n_chrony:x:999:\nops:x:1000:\n`);
  await write('usr/lib/sysusers.d/basic.conf', 'u root 0 - /root\nu! _chrony 999 -\n# g no 1\ng ops 1000\n');
  await write('usr/lib/tmpfiles.d/var.conf', 'd /var/log 0755 root root -\nq /var/tmp/ 1777 root root 30d\n');
  await write('usr/lib/ostree/prepare-root.conf', CONF);
  await write('usr/lib/bootc/kargs.d/10-base.toml', 'kargs = ["console=ttyS0", "quiet"]\n');
  await write(`usr/lib/modules/${RELEASE}/vmlinuz`, 'MZ');
  await write(`usr/lib/modules/${RELEASE}/modules.dep`, 'ext4.ko:\n');
  await write(`usr/lib/modules/${RELEASE}/initramfs.img`, initramfs(INITRAMFS));
  await write('usr/lib/sysimage/dpkg/status', `${STATUS('bash')}\n${STATUS('libc6')}`);
  await write('usr/lib/sysimage/dpkg/info/bash.list');
  await write('usr/lib/sysimage/dpkg/info/libc6:amd64.list');
  await mkdir(join(root, 'usr/lib/sysimage/dpkg/updates'));
  await write('usr/bin/su', 'ELF', 0o4755);
  await link('etc/os-release', '../usr/lib/os-release');
  await link('etc/mtab', '/proc/self/mounts');
}

async function outcomeOf(name: string): Promise<LintOutcome | undefined> {
  const { results } = await runLints(root, FACTS);
  return results.find((result) => result.name === name)?.outcome;
}

test('a sound root passes every lint', async () => {
  const { passed, results } = await runLints(root, FACTS);
  expect(results.filter(({ outcome }) => outcome.status !== 'pass')).toEqual([]);
  expect(passed).toBe(true);
  expect(results.map(({ name }) => name)).toEqual(LINTS.map(({ name }) => name));
});

const kernel = (file: string): string => `usr/lib/modules/${RELEASE}/${file}`;
const STATUS_FILE = 'usr/lib/sysimage/dpkg/status';

/** Name of the lint, what is done to a sound root, and what the finding must say. */
const FAULTS: readonly (readonly [name: string, damage: () => Promise<unknown>, finding: string])[] = [
  ['api-base-directories', () => rm(join(root, 'proc'), { recursive: true }), '/proc'],
  ['baseimage-root', () => rm(join(root, 'sysroot'), { recursive: true }), '/sysroot'],
  ['baseimage-root', () => link('home', '/srv/home'), '/home is /srv/home'],
  ['baseimage-root', () => rm(join(root, 'usr/lib/ostree/prepare-root.conf')), 'prepare-root.conf'],
  ['bootc-kargs', () => write('usr/lib/bootc/kargs.d/20-x.toml', 'kargs = ["a b"]'), '20-x.toml: kargs: 0'],
  ['bootc-kargs', () => write('usr/lib/bootc/kargs.d/20-x.toml', 'kargs = ['), 'is not TOML'],
  ['bootc-kargs', () => write('usr/lib/bootc/kargs.d/20-x.toml', 'kargs = []\nextra = 1'), 'extra'],
  ['bootc-kargs', () => write('usr/lib/bootc/kargs.d/README'), 'must end in .toml'],
  ['etc-usretc', () => mkdir(join(root, 'usr/etc')), '/usr/etc'],
  ['kernel', () => mkdir(join(root, 'usr/lib/modules/5.0')), '5.0, 6.12.1'],
  ['kernel', () => truncate(join(root, kernel('vmlinuz'))), 'vmlinuz'],
  ['nonempty-boot', () => write('boot/grub/grub.cfg'), '/boot/grub'],
  ['nonempty-run-tmp', () => write('tmp/build.log'), '/tmp/build.log'],
  ['sysusers', () => write('usr/lib/sysusers.d/basic.conf', 'u root 0\n'), '_chrony'],
  ['sysusers', () => write('usr/lib/sysusers.d/basic.conf', 'u root 0\nu _chrony -\n'), '/etc/group: ops'],
  ['utf8', () => writeFile(Buffer.from(`${root}/etc/caf\xe9`.replace('ü', '\xc3\xbc'), 'latin1'), ''), '/etc/caf'],
  ['var-log', () => write('var/log/dpkg.log'), '/var/log/dpkg.log'],
  ['var-run', () => mkdir(join(root, 'var/run')), '/var/run'],
  ['var-tmpfiles', () => mkdir(join(root, 'var/cache')), '/var/cache is in no tmpfiles.d'],
  ['var-tmpfiles', () => write('var/tmp/x'), '/var/tmp/x is a file'],
  ['initramfs', () => write(kernel('initramfs.img'), initramfs(INITRAMFS.slice(0, 1))), 'ostree-prepare-root'],
  [
    'initramfs',
    () => write('usr/lib/ostree/prepare-root.conf', '[composefs]\nenabled = yes\n'),
    'was made before the file changed',
  ],
  [
    'initramfs',
    () => write(kernel('initramfs.img'), initramfs([...INITRAMFS, { path: 'usr/lib/modules/5.0/a.ko' }])),
    'has modules of 5.0',
  ],
  ['initramfs', () => write(kernel('initramfs.img'), 'BZh91AY&SY'), 'cannot be read'],
  ['links', () => link('etc/up', '../../../etc/shadow'), '/etc/up leads out'],
  ['links', () => link('up', 'usr/../..'), '/up leads out'],
  ['machine-id', () => write('etc/machine-id', `${'0'.repeat(32)}\n`), '/etc/machine-id'],
  ['machine-id', () => write('var/lib/systemd/random-seed', 'x'), 'random-seed'],
  ['package-database', () => write('var/lib/dpkg/status'), '/var/lib/dpkg'],
  ['package-database', () => write(STATUS_FILE, ''), 'holds no package'],
  [
    'package-database',
    () => write(STATUS_FILE, STATUS('bash').replace('ok installed', 'ok half-configured')),
    'bash is "install ok half-configured"',
  ],
  ['package-database', () => write(STATUS_FILE, `${STATUS('bash')}Triggers-Pending: ldconfig\n`), 'Triggers-Pending'],
  ['package-database', () => write(STATUS_FILE, STATUS('zsh')), 'zsh has no file list'],
  ['package-database', () => write('usr/lib/sysimage/dpkg/updates/0001'), 'updates/0001'],
  ['package-sources', () => write('etc/apt/sources.list.d/debian.sources'), 'debian.sources'],
  ['package-sources', () => write('etc/apt/apt.conf.d/01p', 'Acquire::http::Proxy "http://x";'), '01p names a proxy'],
  ['setuid', () => write('usr/bin/backdoor', 'ELF', 0o4755), '/usr/bin/backdoor (4755 root:root)'],
  ['setuid', () => chmod(join(root, 'usr/bin/su'), 0o755), '/usr/bin/su is 0755 root:root and must be 4755'],
  ['ssh-host-keys', () => write('etc/ssh/ssh_host_ed25519_key'), 'ssh_host_ed25519_key'],
  ['world-writable', () => write('etc/open', '', 0o666), '/etc/open is 0666'],
  ['world-writable', () => chmod(join(root, 'tmp'), 0o777), '/tmp is 0777'],
];

describe('a fault is found by the lint of its name', () => {
  test.each(FAULTS)('%s %#', async (name, damage, finding) => {
    await damage();
    expect(await outcomeOf(name)).toEqual({
      status: 'fail',
      details: expect.arrayContaining([expect.stringContaining(finding)]) as string[],
    });
  });

  test('every lint has a fault', () => {
    expect(new Set(FAULTS.map(([name]) => name))).toEqual(new Set(LINTS.map(({ name }) => name)));
  });
});

test('a lint whose input is missing could not run, and the others do', async () => {
  await rm(join(root, 'usr/lib/sysimage'), { recursive: true });
  const { passed, results } = await runLints(root, FACTS);
  expect(passed).toBe(false);
  expect(results.filter(({ outcome }) => outcome.status !== 'pass')).toEqual([
    {
      name: 'package-database',
      outcome: { status: 'could-not-run', reason: expect.stringContaining('ENOENT') as string },
    },
  ]);
});

test('links to the host do not lead lints there', async () => {
  await link('etc/ssh', '/../../../../../../etc');
  await link('usr/lib/bootc', '../../../../../../../etc');
  expect(await outcomeOf('ssh-host-keys')).toEqual({ status: 'pass' });
  expect(await outcomeOf('bootc-kargs')).toEqual({ status: 'pass' });
});

test('assertLints names all that failed', async () => {
  await write('etc/machine-id', 'x');
  for (let count = 0; count < 15; count++) await write(`boot/${String(count).padStart(2, '0')}`);
  const reporter = createReporter([]);
  await expect(assertLints(root, FACTS, { reporter })).rejects.toMatchObject({
    code: 'LINT_FAILED',
    message: expect.stringMatching(
      /2 of 20 checks[^]*nonempty-boot:\n {4}\/boot\/00[^]*and 5 more[^]*machine-id/,
    ) as string,
  });
});
