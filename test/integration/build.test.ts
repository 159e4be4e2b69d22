/** The build on real packages: the same bits every time, and nothing lost whatever goes wrong. */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { Store } from '../../src/store/store.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, ingotJson, startIngot } from '../support/cli.ts';
import { storeWithPackages } from '../support/thin-store.ts';

let image: BuiltImage;
let folder: string;

beforeAll(async () => {
  image = await builtImage();
  // On the store's file system, so that packages can be linked instead of copied.
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/build-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function declarationWith(name: string, append: string): string {
  const file = join(folder, name, 'node.yaml');
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(file, `${readFileSync(image.declaration, 'utf8')}\n${append}`);
  return file;
}

const mountsOf = (pattern: string): string[] =>
  readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(pattern));
const processesOf = (pattern: string): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(pattern);
      } catch {
        return false; // it ended meanwhile
      }
    });

/** After a build ended, whichever way: no mount, no process, and nothing half-made that counts. */
function expectNothingLeft(store: string): void {
  expect(mountsOf(store.replaceAll(' ', '\\040'))).toEqual([]);
  expect(processesOf(store)).toEqual([]);
}

describe('a build', () => {
  it('gives the same digest in another store, on another day, and makes one initramfs', async () => {
    const store = storeWithPackages(image, join(folder, 'another day'));
    const { exitCode, stdout, stderr } = await ingot(
      [
        ...['--store', store, 'build', image.declaration, '--output', join(folder, 'another day/layout')],
        ...['--verbose', '--json'],
      ],
      { prefix: ['faketime', '-f', '+40d'], env: { FAKETIME_DONT_FAKE_MONOTONIC: '1' } },
    );
    expect(exitCode, stderr).toBe(0);
    const built = JSON.parse(stdout) as { digest: string; criticalPath: { step: string; part: string }[] };
    expect(built.digest).toBe(image.digest);
    // From the first tree to some blobs; which ones end last is the machine's.
    expect(built.criticalPath[0]).toMatchObject({ step: 'base', part: 'tree' });
    expect(built.criticalPath.at(-1)).toMatchObject({ part: 'blobs' });
    // The kernel asks for an initramfs when it is configured, and gets none: one is made for all, at the end.
    expect(stderr).toMatch(/^dracut: Generating \/boot\/initrd/m);
    expect(stderr.match(/^dracut\S*: Executing: .*/gm)).toEqual([
      expect.stringMatching(/ \/usr\/lib\/modules\/\S+\/initramfs\.img$/),
    ]);
  });

  it('says in its lock’s time when passwords were last changed', () => {
    const root = join(folder, 'unpacked');
    mkdirSync(root);
    const { layers } = JSON.parse(
      execFileSync('skopeo', ['inspect', '--raw', image.ref], { encoding: 'utf8' }),
    ) as { layers: { digest: string }[] };
    for (const { digest } of layers) {
      const blob = join(image.layout, 'blobs/sha256', digest.slice('sha256:'.length));
      const has = execFileSync('tar', ['--zstd', '--list', '--file', blob], {
        encoding: 'utf8',
        maxBuffer: 1 << 26,
      });
      if (has.includes('etc/shadow\n'))
        execFileSync('tar', ['--zstd', '-xf', blob, '-C', root, 'etc/shadow']);
    }
    const created = /^created: (\S+)$/m.exec(
      readFileSync(image.declaration.replace('.yaml', '.lock.yaml'), 'utf8'),
    )?.[1];
    const day = Math.floor(Date.parse(created ?? '') / 86_400_000);
    const days = new Set(
      readFileSync(join(root, 'etc/shadow'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => Number(line.split(':')[2])),
    );
    expect([...days]).toEqual([day]);
  });

  it('with nothing changed finds everything in the store', async () => {
    const again = await ingotJson([
      '--store',
      image.store,
      'build',
      image.declaration,
      '--output',
      image.layout,
    ]);
    expect(again['digest']).toBe(image.digest);
    const layers = again['layers'] as readonly (Record<string, unknown> & { chunks: object[] })[];
    expect(layers.every(({ cached }) => cached)).toBe(true);
    // These members are promised in docs/cli.md.
    expect(Object.keys(again)).toEqual([
      'schemaVersion',
      'digest',
      'ref',
      'name',
      'version',
      'layers',
      'seconds',
      'criticalPath',
    ]);
    expect(again['criticalPath']).toEqual([]);
    const members = ['name', 'key', 'chunks', 'size', 'cached', 'seconds'];
    for (const layer of layers) {
      expect(Object.keys(layer)).toEqual(members);
      for (const chunk of layer.chunks)
        expect(Object.keys(chunk)).toEqual(['name', 'digest', 'diffId', 'size']);
    }
  });

  it('after a change of the declaration rebuilds the seal alone', async () => {
    const file = declarationWith('changed', 'hostname: changed\n');
    // From the lock before, so that each layer that stays the same keeps its time.
    cpSync(image.declaration.replace('.yaml', '.lock.yaml'), file.replace('.yaml', '.lock.yaml'));
    await ingotJson(['--store', image.store, 'lock', file]);
    const plan = await ingotJson(['--store', image.store, 'plan', file]);
    const steps = plan['steps'] as { name: string; cached: boolean }[];
    expect(steps.map(({ name }) => name)).toEqual(['base', 'kernel', 'initramfs', 'addon-ssh', 'seal']);
    expect(steps.filter(({ cached }) => !cached).map(({ name }) => name)).toEqual(['seal']);
  });
});

describe('two builds at once on one store', () => {
  it('share the work and agree', async () => {
    const store = storeWithPackages(image, join(folder, 'two at once'));
    const build = (name: string): Promise<Record<string, unknown>> =>
      ingotJson(['--store', store, 'build', image.declaration, '--output', join(folder, name)]);
    const [left, right] = await Promise.all([build('left'), build('right')]);
    expect(left['digest']).toBe(image.digest);
    expect(right['digest']).toBe(image.digest);
    expectNothingLeft(store);
  });
});

it.each([
  ['build', () => ['build', image.declaration, '--output', image.layout]],
  ['disk', () => ['disk', image.ref, '--output', join(folder, 'node.raw')]],
  ['test', () => ['test', image.ref]],
])('%s says that it waits for gc, and Ctrl-C ends the wait', async (_command, args) => {
  const store = join(folder, 'collected');
  await using _collecting = await (await Store.open(store)).lock('store');
  const started = startIngot(['--store', store, ...args()]);
  await started.saying(/^waiting for `ingot store gc`$/);
  process.kill(started.pid, 'SIGINT');
  expect((await started.ended).exitCode).toBe(130);
});

describe('a build that is ended', () => {
  it('by kill -9 in the middle of package scripts leaves nothing running, and the next build is right', async () => {
    const store = storeWithPackages(image, join(folder, 'killed'));
    const output = join(folder, 'killed/layout');
    const build = ['--store', store, 'build', image.declaration, '--output', output];
    const started = startIngot([...build, '--verbose']);
    await started.saying(/Setting up libc6/);
    process.kill(started.pid, 'SIGKILL');
    await started.ended;
    await untilGone(store);
    expect(existsSync(output)).toBe(false);
    expect(readdirSync(join(store, 'trees'))).toEqual([]);
    expect(readdirSync(join(store, 'tmp'))).not.toEqual([]);

    expect((await ingotJson(build))['digest']).toBe(image.digest);
    expectNothingLeft(store);
    expect(readdirSync(join(store, 'tmp'))).toEqual([]);
  });

  it('by Ctrl-C cleans up after itself and exits with 130', async () => {
    const store = storeWithPackages(image, join(folder, 'interrupted'));
    const output = join(folder, 'interrupted/layout');
    const started = startIngot([
      '--store',
      store,
      'build',
      image.declaration,
      '--output',
      output,
      '--verbose',
    ]);
    await started.saying(/Setting up libc6/);
    process.kill(started.pid, 'SIGINT');
    const { exitCode, stderr } = await started.ended;
    expect(exitCode, stderr).toBe(130);
    expect(stderr).toContain('error[INTERRUPTED]');
    expectNothingLeft(store);
    expect(readdirSync(join(store, 'tmp'))).toEqual([]);
    expect(existsSync(output)).toBe(false);
  });

  it('by a full disk says so, and leaves the store fit for use', async () => {
    const store = join(folder, 'small');
    mkdirSync(store);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=150m', 'tmpfs', store]);
    try {
      cpSync(join(image.store, 'packages'), join(store, 'packages'), {
        recursive: true,
        // What the image needs, and not what the tools need.
        filter: (source) =>
          !source.endsWith('.deb') || lockedHashes().has(source.split('/').at(-1)?.slice(0, 64) ?? ''),
      });
      const { exitCode, stderr } = await ingot([
        '--store',
        store,
        'build',
        image.declaration,
        '--output',
        join(folder, 'x'),
      ]);
      expect(stderr).toContain('error[DISK_FULL]');
      expect(exitCode).toBe(1);
      expect(readdirSync(join(store, 'tmp'))).toEqual([]);
      expect(readdirSync(join(store, 'trees'))).toEqual([]);
      expect(existsSync(join(folder, 'x'))).toBe(false);
    } finally {
      execFileSync('umount', [store]);
    }
  });
});

describe('a build refuses', () => {
  it('a unit that no package brings, at its place in the declaration', async () => {
    const file = declarationWith('unit', 'units:\n  - {name: shh.service, enabled: true}\n');
    // From the lock before, so that the layers below are in the store.
    cpSync(image.declaration.replace('.yaml', '.lock.yaml'), file.replace('.yaml', '.lock.yaml'));
    await ingotJson(['--store', image.store, 'lock', file]);
    const { exitCode, stderr } = await ingot([
      '--store',
      image.store,
      'build',
      file,
      '--output',
      join(folder, 'x'),
    ]);
    expect(exitCode, stderr).toBe(2);
    const line =
      readFileSync(file, 'utf8')
        .split('\n')
        .findIndex((text) => text.includes('shh.service')) + 1;
    expect(stderr).toContain('error[UNIT_UNKNOWN]');
    expect(stderr).toContain(`node.yaml:${line}:`);
    expect(stderr).toContain('ssh.service');
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });

  it('a unit that cannot be enabled, at its place in the declaration', async () => {
    const file = declarationWith(
      'static',
      'units:\n  - {name: systemd-networkd.service, enabled: true}\n  - {name: systemd-journald.service, enabled: true}\n',
    );
    // From the lock before, so that the layers below are in the store.
    cpSync(image.declaration.replace('.yaml', '.lock.yaml'), file.replace('.yaml', '.lock.yaml'));
    await ingotJson(['--store', image.store, 'lock', file]);
    const build = ['--store', image.store, 'build', file, '--output', join(folder, 'x')];
    const { exitCode, stderr } = await ingot(build);
    expect(exitCode, stderr).toBe(2);
    const lines = readFileSync(file, 'utf8').split('\n');
    const line = lines.findIndex((text) => text.includes('systemd-journald.service')) + 1;
    expect(stderr).toContain('error[SPEC_INVALID]: systemd-journald.service cannot be enabled');
    expect(stderr).toContain(`node.yaml:${line}:`);
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });

  it('an output that cannot be, before anything is built', async () => {
    const store = join(folder, 'untouched');
    const file = join(folder, 'in the way');
    writeFileSync(file, '');
    for (const [command, output] of [
      ['build', '/proc/layout'],
      ['build', join(file, 'layout')],
      ['build', file],
      ['disk', '/proc/node.raw'],
      ['disk', join(folder, 'no such folder/node.raw')],
      ['quickstart', '/proc/folder/layout'],
    ] as const) {
      const refused = await ingot(['--store', store, command, image.declaration, '--output', output]);
      expect([command, output, refused.exitCode]).toEqual([command, output, 2]);
      expect(refused.stderr).toContain('error[USAGE]');
      expect(refused.stderr).not.toContain('Fetch packages');
    }
    expect(existsSync(join(store, 'trees')) ? readdirSync(join(store, 'trees')) : []).toEqual([]);
  });

  it('to go on without a lock, or with one for another declaration', async () => {
    const file = declarationWith('unlocked', '');
    const missing = await ingot(['--store', image.store, 'build', file]);
    expect(missing.exitCode).toBe(2);
    expect(missing.stderr).toContain('error[LOCK_MISSING]');
    expect(missing.stderr).toContain('ingot lock');

    const changed = declarationWith('stale', 'hostname: other\n');
    cpSync(image.declaration.replace('.yaml', '.lock.yaml'), changed.replace('.yaml', '.lock.yaml'));
    const stale = await ingot(['--store', image.store, 'build', changed]);
    expect(stale.exitCode).toBe(2);
    expect(stale.stderr).toContain('error[LOCK_STALE]');
    expect(stale.stderr).toContain('the declaration has changed');
  });

  it('a package that is not what the lock says', async () => {
    const file = declarationWith('tampered', '');
    const lock = readFileSync(image.declaration.replace('.yaml', '.lock.yaml'), 'utf8');
    const hash = /name: less,.*?sha256: ([0-9a-f]{64})/.exec(lock)?.[1] ?? '';
    writeFileSync(file.replace('.yaml', '.lock.yaml'), lock.replaceAll(hash, 'f'.repeat(64)));
    const { exitCode, stderr } = await ingot([
      '--store',
      image.store,
      'build',
      file,
      '--output',
      join(folder, 'x'),
    ]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error[DIGEST_MISMATCH]');
    expect(stderr).toContain('less');
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });

  it('to start without root, and says what to do', async () => {
    const store = mkdtempSync(join(tmpdir(), 'ingot-nobody-'));
    execFileSync('chown', ['nobody', store]);
    const prefix = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--'];
    try {
      const { exitCode, stderr } = await ingot(['--store', store, 'build', 'images/debian-minimal.yaml'], {
        prefix,
        env: { HOME: store },
      });
      expect(stderr).toContain('error[NOT_ROOT]');
      expect(stderr).toContain('sudo');
      expect(exitCode).toBe(1);
    } finally {
      rmSync(store, { recursive: true });
    }
  });
});

function lockedHashes(): Set<string> {
  const lock = readFileSync(image.declaration.replace('.yaml', '.lock.yaml'), 'utf8');
  const [layers = ''] = lock.split(/^tools:/m);
  return new Set([...layers.matchAll(/sha256: ([0-9a-f]{64})/g)].map((match) => match[1] ?? ''));
}

/** The kernel ends what a killed build left; that takes a moment. */
async function untilGone(store: string): Promise<void> {
  const until = Date.now() + 20_000;
  while (processesOf(store).length > 0 || mountsOf(store.replaceAll(' ', '\\040')).length > 0) {
    if (Date.now() > until) throw new Error(`still there: ${processesOf(store).join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
