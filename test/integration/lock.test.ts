/** `ingot lock`, as a user runs it: against the machine's own mirror, and against archives that change and misbehave. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

import { loadMirrors } from '../../src/packages/mirror.ts';
import { parseLock } from '../../src/resolve/lock-text.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import { run } from '../../src/proc/run.ts';
import { ingot, ingotJson, startIngot, type CliResult } from '../support/cli.ts';
import type { MirrorServer } from '../support/mirror.ts';
import { TestKey, TinyArchive, type TinyPackage } from '../support/mirror.ts';
import { TinyProject } from '../support/tiny-project.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot löck '));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function readLock(path: string): Promise<Lock> {
  return parseLock(await readFile(path, 'utf8'), path);
}

function versionsIn(lock: Lock): Record<string, string> {
  const packages = lock.layers.flatMap((layer) => layer.packages);
  return Object.fromEntries(packages.map(({ name, version }) => [name, version]));
}

describe('with the machine’s own mirror', () => {
  test('locks Debian by hash, says nothing of where from, and finds nothing to change afterwards', async () => {
    const declaration = join(folder, 'nöde image.yaml');
    await writeFile(
      declaration,
      'name: node\nbase: debian@13\nkernel: cloud\naddons: [ssh]\npackages: [htop]\n',
    );
    const env = { INGOT_STORE: join(folder, 'ä store') };
    const made = await ingotJson(['lock', declaration], { env });
    const path = join(folder, 'nöde image.lock.yaml');
    expect(made).toMatchObject({
      schemaVersion: 1,
      locks: [{ file: declaration, lock: path, written: true }],
    });

    const text = await readFile(path, 'utf8');
    const mirrors = await loadMirrors(process.env);
    for (const archive of ['debian', 'debian-security']) {
      expect(text).not.toContain(new URL(mirrors.urlOf(archive)).hostname);
    }
    expect(text).not.toContain('://');

    const lock = await readLock(path);
    expect(lock.layers.map(({ name }) => name)).toEqual(['base', 'kernel', 'addon-ssh', 'packages']);
    const names = lock.layers.map(({ packages }) => packages.map((item) => item.name));
    expect(names[0]).toEqual(expect.arrayContaining(['bash', 'dpkg', 'libc6', 'systemd']));
    expect(names[1]).toContain(lock.kernel.package);
    expect(lock.kernel.release).toMatch(/^6\.12\..*-cloud-amd64$/);
    expect(names[2]).toContain('openssh-server');
    expect(names[3]).toContain('htop');
    expect(lock.tools.packages.map((item) => item.name)).toEqual(expect.arrayContaining(['ostree', 'libc6']));

    const again = await ingotJson(['lock', declaration], { env });
    expect(again).toMatchObject({ locks: [{ written: false, added: [], removed: [], changed: [] }] });
    expect(await readFile(path, 'utf8')).toBe(text);
    expect((await ingot(['lock', declaration, '--check'], { env })).exitCode).toBe(0);
  });
});

/** Command lines of other processes that name `text`. */
/** Those that have the text in their arguments or in their environment, which is how apt is told of its folders. */
async function processesOf(text: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  const lines = await Promise.all(
    pids.map(async (pid) => {
      const files = ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8'));
      return (await Promise.all(files).catch(() => [])).join('');
    }),
  );
  return lines.filter((line) => line.includes(text));
}

const KERNEL: readonly TinyPackage[] = [
  { name: 'linux-image-tiny', version: '6.12.2-1', depends: 'linux-image-6.12.2-tiny' },
  { name: 'linux-image-6.12.2-tiny', version: '6.12.2-1' },
  { name: 'linux-image-6.11.9-tiny', version: '6.11.9-1' },
];
const ESSENTIAL: TinyPackage = { name: 'tiny-libc', version: '1', essential: true };
const FIRST: readonly TinyPackage[] = [
  ESSENTIAL,
  { name: 'init', version: '1', depends: 'tiny-libc' },
  ...KERNEL,
  { name: 'server', version: '1', depends: 'lib-server (= 1)' },
  { name: 'lib-server', version: '1' },
  { name: 'other', version: '1' },
  { name: 'mail-a', version: '1', provides: 'mail-transport', conflicts: 'mail-b' },
  { name: 'mail-b', version: '1', provides: 'mail-transport' },
  { name: 'hammer', version: '1' },
];
/** The newer of everything, with what is older still there where `older` says so. */
function second(...older: string[]): readonly TinyPackage[] {
  return [
    ...FIRST.filter(({ name }) => older.includes(name)),
    ...FIRST.map((item): TinyPackage => {
      if (item.name.startsWith('linux')) return item;
      return { ...item, version: '2', ...(item.name === 'server' && { depends: 'lib-server (= 2)' }) };
    }),
  ];
}

describe('with a small archive', () => {
  let key: TestKey;
  let project: string;
  let archive: TinyArchive;
  let server: MirrorServer;
  let env: Readonly<Record<string, string>>;
  let declare: TinyProject['declare'];
  let round = 0;

  beforeAll(async () => {
    key = await TestKey.create();
  });

  afterAll(async () => {
    await key[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    const tiny = await TinyProject.start(join(folder, `prøject ${(round += 1)}`), key);
    ({ folder: project, archive, server } = tiny);
    await archive.publish(FIRST);
    env = { ...tiny.env, INGOT_MIRROR: server.url.replace('//', '//user:secret@') };
    declare = (rest) => tiny.declare(rest);
    await declare('packages: [server, other]');
    return () => tiny[Symbol.asyncDispose]();
  });

  async function ingotLock(...args: string[]): Promise<CliResult> {
    const result = await ingot(['lock', 'node.yaml', ...args], { cwd: project, env });
    // Whatever happens, nobody learns where packages come from.
    expect(result.stderr + result.stdout).not.toMatch(/secret|127\.0\.0\.1|localhost/);
    expect(result.stderr).not.toContain('error[BUG]');
    return result;
  }

  async function locked(...args: string[]): Promise<Lock> {
    const result = await ingotLock(...args);
    expect(result).toMatchObject({ exitCode: 0 });
    return readLock(join(project, 'node.lock.yaml'));
  }

  async function refused(code: string, exitCode: number, ...args: string[]): Promise<string> {
    const result = await ingotLock(...args);
    expect(result.stderr).toContain(`error[${code}]`);
    expect(result.exitCode).toBe(exitCode);
    return result.stderr;
  }

  test('every version stays that still fits, until it is told to move', async () => {
    const first = await locked();
    expect(versionsIn(first)).toEqual({
      'tiny-libc': '1',
      init: '1',
      'linux-image-tiny': '6.12.2-1',
      'linux-image-6.12.2-tiny': '6.12.2-1',
      server: '1',
      'lib-server': '1',
      other: '1',
    });
    await archive.publish(second('tiny-libc', 'init', 'server', 'lib-server', 'other', 'hammer'));
    expect(await locked()).toEqual(first);

    // One package, with what it cannot do without.
    const moved = versionsIn(await locked('--update', 'server'));
    expect(moved).toMatchObject({ server: '2', 'lib-server': '2', other: '1', init: '1' });

    const all = await locked('--update');
    expect(versionsIn(all)).toMatchObject({ server: '2', other: '2', init: '2', 'tiny-libc': '2' });
    expect(all.tools.packages.find(({ name }) => name === 'hammer')?.version).toBe('2');
    const [day, count] = first.version.split('.');
    expect(all.version).toBe(`${day ?? ''}.${Number(count) + 2}`);
  });

  test('a version that is gone moves, with what cannot stay beside it, and nothing else', async () => {
    await locked();
    await archive.publish(second('tiny-libc', 'init', 'server', 'other', 'hammer'));
    const result = await ingotLock();
    expect(result.stdout).toMatch(/\n {2}~ lib-server 1 → 2\n {2}~ server 1 → 2$/);
    expect(versionsIn(await readLock(join(project, 'node.lock.yaml')))).toMatchObject({
      server: '2',
      'lib-server': '2',
      other: '1',
      init: '1',
    });
  });

  test('a pinned version is chosen although there is a newer one', async () => {
    await archive.publish(second('server', 'lib-server'));
    await declare('packages: [server=1, lib-server=1]');
    expect(versionsIn(await locked())).toMatchObject({ server: '1', 'lib-server': '1', init: '2' });
  });

  test('a kernel series: the metapackage of it, else the image itself', async () => {
    await writeFile(
      join(project, 'node.yaml'),
      "name: node\nbase: tiny\nkernel: {flavour: tiny, version: '6.11'}\n",
    );
    const lock = await locked();
    expect(lock.kernel).toMatchObject({ package: 'linux-image-6.11.9-tiny', release: '6.11.9-tiny' });
    expect(lock.layers[1]?.packages.map(({ name }) => name)).toEqual(['linux-image-6.11.9-tiny']);

    await writeFile(
      join(project, 'node.yaml'),
      "name: node\nbase: tiny\nkernel:\n  flavour: tiny\n  version: '5.10'\n",
    );
    const complaint = await refused('PACKAGE_UNKNOWN', 2);
    expect(complaint).toContain('node.yaml:5:12');
    expect(complaint).toContain('6.12.2-1');
  });

  test('packages that are not there: all at once, each with its place and the nearest names', async () => {
    await declare('packages:\n  - servr\n  - other=9\n  - mail-transport');
    const complaint = await refused('PACKAGE_UNKNOWN', 2);
    expect(complaint).toMatch(/node\.yaml:5:5[^]*node\.yaml:6:5[^]*node\.yaml:7:5/);
    expect(complaint).toMatch(/no package servr[^]*server/);
    expect(complaint).toMatch(/mail-transport is a virtual package[^]*mail-a[^]*mail-b/);
    expect(complaint).toMatch(/no version 9 of other[^]*other=1/);
    await expect(stat(join(project, 'node.lock.yaml'))).rejects.toThrow();
  });

  test('packages that do not go together: apt’s reasons, and who asked', async () => {
    await declare('packages: [mail-a, mail-b]');
    const complaint = await refused('PACKAGES_CONFLICT', 2);
    expect(complaint).toMatch(/mail-a: Conflicts: mail-b/);
    expect(complaint).toMatch(/node\.yaml:4:12/);
  });

  test('--check: missing, fresh, stale; it never writes', async () => {
    expect(await ingotLock('--check')).toMatchObject({
      exitCode: 1,
      stdout: expect.stringContaining('there is no such file') as string,
    });
    await locked();
    const text = await readFile(join(project, 'node.lock.yaml'), 'utf8');
    expect((await ingotLock('--check')).exitCode).toBe(0);
    await declare('packages: [server]\nhostname: x');
    const tools = "base: tiny\nrelease: '1'\npackages: [hammer, other]\n";
    await writeFile(join(project, 'layers/tools.yaml'), tools);
    const stale = await ingotLock('--check');
    expect(stale.exitCode).toBe(1);
    expect(stale.stdout).toMatch(/stale\n {2}the declaration has changed\n {2}the definition of the tools/);
    expect(stale.stdout).toContain('ingot lock node.yaml');
    const json = await ingotLock('--check', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({
      locks: [{ fresh: false, reasons: [{ what: 'declaration' }, { what: 'tools' }] }],
    });
    expect(await readFile(join(project, 'node.lock.yaml'), 'utf8')).toBe(text);
  });

  test('a declaration and its variants have a lock each', async () => {
    await declare('variants: [{name: with-mail, packages: [mail-a]}]');
    await locked();
    const variant = await readLock(join(project, 'node@with-mail.lock.yaml'));
    expect(variant.variant).toBe('with-mail');
    expect(versionsIn(variant)).toHaveProperty('mail-a');
    await locked('--variant', 'with-mail', '--output', join(project, 'elsewhere.lock.yaml'));
    expect((await readLock(join(project, 'elsewhere.lock.yaml'))).declaration).toBe(variant.declaration);
    await refused('USAGE', 2, '--output', 'x.lock.yaml');
    await refused('IMAGE_UNKNOWN', 2, '--variant', 'nope');
  });

  test('a lock that cannot be read is made afresh', async () => {
    await locked();
    await writeFile(join(project, 'node.lock.yaml'), '<<<<<<< ours\n');
    expect((await ingotLock()).stderr).toMatch(/node\.lock\.yaml cannot be read.*made afresh/);
    expect((await ingotLock('--check')).exitCode).toBe(0);
  });

  test('--offline: by the indexes that are there, and not without any', async () => {
    const result = await ingotLock('--offline');
    expect(result).toMatchObject({ exitCode: 1 });
    expect(result.stderr).toMatch(/error\[MIRROR_UNREACHABLE\].*no package indexes of tiny yet/);
    expect(server.requests).toEqual([]);
    await locked();
    await archive.publish(second());
    const asked = server.requests.length;
    await declare('packages: [server, lib-server]');
    expect(await ingotLock('--offline', '--update')).toMatchObject({ exitCode: 0 });
    expect(versionsIn(await readLock(join(project, 'node.lock.yaml')))).toMatchObject({ server: '1' });
    expect(server.requests.length).toBe(asked);
  });

  test('--update of a package that is in no lock', async () => {
    await locked();
    expect(await refused('USAGE', 2, '--update', 'sever')).toContain('did you mean server?');
  });

  test('the time of the lock may be given', async () => {
    env = { ...env, SOURCE_DATE_EPOCH: '1700000000' };
    expect(await locked()).toMatchObject({ created: '2023-11-14T22:13:20Z', version: '20231114.1' });
    env = { ...env, SOURCE_DATE_EPOCH: 'yesterday' };
    await refused('ENVIRONMENT', 2);
  });

  test('several at once on one store', async () => {
    server.misbehave(/Packages/, { kind: 'slow', pauseMs: 50, pieces: 10 }, 3);
    const names = ['a', 'b', 'c'];
    const results = await Promise.all(
      names.map((name) =>
        ingot(['lock', 'node.yaml', '--output', `${name}.lock.yaml`], { cwd: project, env }),
      ),
    );
    expect(results.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
    const locks = await Promise.all(names.map((name) => readLock(join(project, `${name}.lock.yaml`))));
    expect(locks.map(versionsIn)).toEqual(locks.map(() => versionsIn(locks[0] ?? ({} as Lock))));
  });

  describe('and a mirror', () => {
    test('that is slow: it takes its time', async () => {
      server.misbehave(/./, { kind: 'slow', pauseMs: 100, pieces: 8 });
      await locked();
    });

    test('that sends nothing more, until Ctrl-C: nothing is left, of files or of processes', async () => {
      server.misbehave(/Packages/, { kind: 'stall' });
      const started = startIngot(['lock', 'node.yaml'], { cwd: project, env });
      await started.saying(/^Update package indexes of tiny …/);
      await vi.waitUntil(() => server.requests.some((path) => path.includes('Packages')), 20_000);
      expect(await processesOf(project)).not.toEqual([]);
      process.kill(started.pid, 'SIGINT');
      const { exitCode, stderr } = await started.ended;
      expect(exitCode, stderr).toBe(130);
      expect(stderr).toContain('error[INTERRUPTED]');
      expect(await processesOf(project)).toEqual([]);
      expect(await readdir(project)).not.toContain('node.lock.yaml');
      expect(await readdir(join(project, 'störe/tmp'))).toEqual([]);
    });

    test('that nobody answers at', async () => {
      await server[Symbol.asyncDispose]();
      const complaint = await refused('MIRROR_UNREACHABLE', 1);
      expect(complaint).toContain('connection refused');
      expect(complaint).toContain('INGOT_MIRROR');
    });

    test('that lacks the suite', async () => {
      await rm(join(archive.root, 'dists'), { recursive: true });
      expect(await refused('MIRROR_UNREACHABLE', 1)).toContain('debian (tiny)');
    });

    test('that signs with another key', async () => {
      await using other = await TestKey.create();
      await new TinyArchive(archive.root, other).publish(FIRST);
      expect(await refused('MIRROR_UNTRUSTED', 1)).toContain('not signed by a key of the release');
    });

    test('whose indexes are not those that were signed', async () => {
      server.misbehave(/Packages/, { kind: 'corrupt' });
      await refused('MIRROR_UNTRUSTED', 1);
    });

    test('that is no longer updated', async () => {
      await archive.publish(FIRST, new Date(Date.now() - 86_400_000));
      expect(await refused('MIRROR_UNTRUSTED', 1)).toContain('past the date');
    });
  });

  test('without the archive’s keyring', async () => {
    await run(['sed', '-i', 's/archive keyring/no such keyring/', join(project, 'layers/base/tiny.yaml')]);
    expect(await refused('ENVIRONMENT', 2)).toContain('debian-archive-keyring');
  });

  test.each(['16k', '80k', '200k'])('a disk that is full after %s', async (size) => {
    const full = join(project, 'full');
    await mkdir(full);
    await run(['mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', full]);
    try {
      env = { ...env, INGOT_STORE: full };
      await refused('DISK_FULL', 1);
    } finally {
      await run(['umount', full]);
    }
  });
});
