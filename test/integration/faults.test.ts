/** Packages and layers that do what they should not, met by the real program on the shared base and kernel. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { renderTarEntry, TAR_BLOCK, type TarEntry } from '../../src/build/archive/tar-header.ts';
import { bootstrapRoot } from '../../src/build/debian/bootstrap.ts';
import { lockPathOf } from '../../src/cli/load-lock.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { silentReporter } from '../../src/report/events.ts';
import { Store } from '../../src/store/store.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { addFile, localProject, type LocalLayer, type LocalPackage } from '../support/local-project.ts';
import { storeWithPackages } from '../support/thin-store.ts';

let image: BuiltImage;
let folder: string;
let store: Store;
let count = 0;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/faults-'));
  store = await Store.open(image.store);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Refusal {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly output: string;
  readonly seconds: number;
}

/** Builds what must not be built, and leaves no layout. */
async function refusal(
  layers: Readonly<Record<string, LocalLayer>>,
  env: Readonly<Record<string, string>> = {},
): Promise<Refusal> {
  count += 1;
  const project = await localProject(image, join(folder, `project ${count}`), layers);
  const started = performance.now();
  const { exitCode, stdout, stderr } = await project.build(['--json'], { env });
  const seconds = (performance.now() - started) / 1000;
  expect(existsSync(project.layout), stderr).toBe(false);
  const { error } = JSON.parse(stdout) as { error: Omit<Refusal, 'exitCode' | 'seconds'> };
  return { exitCode, ...error, seconds };
}

const only = (item: LocalPackage | LockedPackage): Record<string, LocalLayer> => ({
  one: { packages: [item] },
});

describe('layers that do not fit together', () => {
  test('for one path, named with both layers', async () => {
    const same = { 'usr/share/same': 'x' };
    const { exitCode, code, message } = await refusal({
      one: { packages: [{ name: 'first', files: same }] },
      two: { packages: [{ name: 'second', files: same }] },
    });
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'LAYER_CONFLICT' });
    expect(message).toContain('layers addon-one and addon-two both bring /usr/share/same');
  });

  test('for two versions of one package, before anything is built', async () => {
    const { exitCode, code, message } = await refusal({
      one: { packages: [{ name: 'twice', version: '1' }] },
      two: { packages: [{ name: 'twice', version: '2' }] },
    });
    expect({ exitCode, code }).toEqual({ exitCode: 2, code: 'LOCK_STALE' });
    expect(message).toContain('the package twice is in it twice');
  });

  test('since one removes a file of the base', async () => {
    const { exitCode, code, message } = await refusal(
      only({ name: 'remover', scripts: { preinst: 'rm /usr/bin/less' } }),
    );
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'LAYER_CONFLICT' });
    expect(message).toContain('layer addon-one removes /usr/bin/less');
  });

  test('since one takes the place of a package of the base', async () => {
    const fields = { Conflicts: 'less', Replaces: 'less', Provides: 'less' };
    const { exitCode, code, message } = await refusal(only({ name: 'more-or-less', fields }));
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'LAYER_CONFLICT' });
    expect(message).toContain('less');
  });

  test('since one brings a file of a package of the base', async () => {
    const { exitCode, code, message, output } = await refusal(
      only({ name: 'intruder', files: { 'usr/bin/less': 'mine' } }),
    );
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'BUILD_FAILED' });
    expect(message).toBe('installing failed for intruder');
    expect(output).toMatch(/trying to overwrite '.*\/less', which is also in package less/);
  });

  test('since both make accounts while they are unpacked', async () => {
    const maker = (name: string): LocalPackage => ({
      name,
      scripts: { preinst: `echo "${name}:x:990:990::/:/bin/false" >>/etc/passwd` },
    });
    const { code, message } = await refusal({
      one: { packages: [maker('first')] },
      two: { packages: [maker('second')] },
    });
    expect(code).toBe('LAYER_CONFLICT');
    expect(message).toContain('layers addon-one and addon-two both bring /etc/passwd');
  });
});

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

describe('a package script', () => {
  test('that fails is named, with its words', async () => {
    const { exitCode, code, message, output } = await refusal(
      only({ name: 'failing', scripts: { preinst: 'echo "my last words" >&2; exit 3' } }),
    );
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'BUILD_FAILED' });
    expect(message).toBe('installing failed for failing');
    expect(output).toContain('my last words');
    expect(output).toMatch(/failing.*exit status 3/s);
  });

  test('that hangs is ended, and named', async () => {
    const { exitCode, code, message, hint, seconds } = await refusal(
      only({ name: 'hanging', scripts: { preinst: 'echo waiting for nobody; exec sleep 7777' } }),
      { INGOT_SCRIPT_SILENCE: '5s' },
    );
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'TIMEOUT' });
    expect(message).toBe('dpkg said nothing for 5 s, at work on hanging');
    expect(hint).toContain('INGOT_SCRIPT_SILENCE');
    expect(seconds).toBeLessThan(300);
    const running = readdirSync('/proc').filter(
      (pid) => /^\d+$/.test(pid) && commandOf(pid) === 'sleep\x007777\x00',
    );
    expect(running).toEqual([]);
  });

  test('that wants the network gets none, and the refusal says so', async () => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    try {
      const { exitCode, code, output, hint } = await refusal(
        only({ name: 'curious', scripts: { preinst: `bash -c 'exec 3<>/dev/tcp/127.0.0.1/${port}'` } }),
      );
      expect({ exitCode, code, connections }).toEqual({ exitCode: 1, code: 'BUILD_FAILED', connections: 0 });
      expect(output).toContain('Connection refused');
      expect(hint).toContain('without network');
    } finally {
      server.close();
    }
  });
});

/** A package file that dpkg-deb would not make: its data archive is exactly these entries. */
async function crafted(
  into: Store,
  name: string,
  entries: readonly (TarEntry & { content?: string })[],
): Promise<LockedPackage> {
  const work = mkdtempSync(join(folder, 'crafted-'));
  const archive = (items: readonly (TarEntry & { content?: string })[]): Buffer =>
    Buffer.concat([
      ...items.flatMap((entry) => {
        const body = Buffer.from(entry.content ?? '');
        const padding = Buffer.alloc((TAR_BLOCK - (body.length % TAR_BLOCK)) % TAR_BLOCK);
        return [renderTarEntry(entry), body, padding];
      }),
      Buffer.alloc(2 * TAR_BLOCK),
    ]);
  const control = `Package: ${name}\nVersion: 1\nArchitecture: amd64\nMaintainer: T <t@example.com>\nDescription: ${name}\n`;
  writeFileSync(join(work, 'debian-binary'), '2.0\n');
  writeFileSync(join(work, 'control.tar'), archive([file('control', control)]));
  writeFileSync(join(work, 'data.tar'), archive(entries));
  execFileSync('ar', ['rc', 'x.deb', 'debian-binary', 'control.tar', 'data.tar'], { cwd: work });
  return addFile(into, name, '1', join(work, 'x.deb'));
}

const common = { mode: 0o755, uid: 0, gid: 0, mtime: 0 };
const file = (path: string, content: string): TarEntry & { content: string } => ({
  ...common,
  path,
  type: 'file',
  size: Buffer.byteLength(content),
  content,
});

describe('a package that reaches out of its root', () => {
  test('by its names or through links ends up inside, or nowhere', async () => {
    const target = join(folder, 'of this machine');
    mkdirSync(target);
    const climbing = await crafted(store, 'climbing', [
      file(`./${'../'.repeat(12)}${target.slice(1)}/climbed`, 'x'),
    ]);
    const linking = await crafted(store, 'linking', [
      { ...common, path: './usr', type: 'directory' },
      { ...common, path: './usr/out', type: 'symlink', target },
      file('./usr/out/linked', 'x'),
    ]);
    for (const item of [climbing, linking]) expect((await refusal(only(item))).code).toBe('BUILD_FAILED');
    expect(readdirSync(target)).toEqual([]);
  });

  test('in the essential set, which is extracted before there is a dpkg, does not either', async () => {
    const target = join(folder, 'of this machine too');
    mkdirSync(target);
    const own = await Store.open(join(folder, 'own store'));
    const packages = [
      await crafted(own, 'a-link', [
        { ...common, path: './usr', type: 'directory' },
        { ...common, path: './usr/out', type: 'symlink', target },
      ]),
      await crafted(own, 'b-file', [file('./usr/out/linked', 'x')]),
      await crafted(own, 'c-climbing', [file(`./${'../'.repeat(12)}${target.slice(1)}/climbed`, 'x')]),
      await crafted(own, 'd-absolute', [file(`${target}/absolute`, 'x')]),
    ];
    for (const some of [packages.slice(0, 2), packages.slice(2, 3), packages.slice(3)]) {
      await using scratch = await own.scratch('root');
      const root = join(scratch.path, 'tree/root');
      mkdirSync(root, { recursive: true });
      // One after the other: the link is there when the file comes.
      const essential = new Set(some.map(({ name }) => name));
      const made = bootstrapRoot(root, {
        packages: some,
        essential,
        store: own,
        epoch: 0,
        reporter: silentReporter,
      });
      await expect(made).rejects.toMatchObject({ name: 'IngotError' });
    }
    expect(readdirSync(target)).toEqual([]);
  });

  test('by its size fills no more than the disk, which is said', async () => {
    const small = join(folder, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', small]);
    try {
      const own = await Store.open(small);
      const work = mkdtempSync(join(folder, 'bomb-'));
      mkdirSync(join(work, 'tree/DEBIAN'), { recursive: true });
      const control =
        'Package: bomb\nVersion: 1\nArchitecture: amd64\nMaintainer: T <t@e.org>\nDescription: b\n';
      writeFileSync(join(work, 'tree/DEBIAN/control'), control);
      // Not sparse to whoever extracts it: a megabyte of package, hundreds of content.
      execFileSync('truncate', ['--size', '400M', join(work, 'tree/zeros')]);
      execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '--build', 'tree', 'bomb.deb'], {
        cwd: work,
      });
      rmSync(join(work, 'tree'), { recursive: true });
      const bomb = await addFile(own, 'bomb', '1', join(work, 'bomb.deb'));
      expect(bomb.size).toBeLessThan(5e6);
      {
        await using scratch = await own.scratch('root');
        const root = join(scratch.path, 'tree/root');
        mkdirSync(root, { recursive: true });
        const options = { packages: [bomb], essential: new Set(['bomb']), store: own, epoch: 0 };
        await expect(bootstrapRoot(root, { ...options, reporter: silentReporter })).rejects.toMatchObject({
          code: 'DISK_FULL',
        });
      }
      expect(readdirSync(join(small, 'tmp'))).toEqual([]);
    } finally {
      execFileSync('umount', [small]);
    }
  });
});

test('a lock whose package is not what it says is refused by its hash, although the store has a file of that name', async () => {
  const project = await localProject(
    image,
    join(folder, 'swapped'),
    only({ name: 'swapped', files: { 'usr/share/swapped': 'a' } }),
    storeWithPackages(image, join(folder, 'swapped store')),
  );
  const own = await Store.open(join(folder, 'swapped store'));
  const [, sha256 = ''] =
    /name: swapped,.*sha256: ([0-9a-f]{64})/.exec(readFileSync(lockPathOf(project.declaration), 'utf8')) ??
    [];
  const path = own.packagePath(sha256);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  // Nobody else has it: fetching it again fails, and nothing is installed.
  const { exitCode, stderr } = await project.build();
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/error\[(?:PACKAGE_GONE|MIRROR_UNREACHABLE)\]: swapped 1/);
  expect(existsSync(project.layout)).toBe(false);
});
