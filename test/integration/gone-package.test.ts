/** Locked packages that the mirror no longer has, met by the real program on the real image. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

import { loadLock } from '../../src/cli/load-lock.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, startIngot, type CliOptions } from '../support/cli.ts';
import { MirrorServer } from '../support/mirror.ts';
import { moveToArchive, packageFile, packageOf, storeWithPackages } from '../support/thin-store.ts';

let image: BuiltImage;
let lockFile: string;
let folder: string;

beforeAll(async () => {
  image = await builtImage();
  lockFile = image.declaration.replace('.yaml', '.lock.yaml');
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/gone-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs until stderr says the last of `patterns`, one after the other, and then presses Ctrl-C. */
async function untilSaid(
  args: readonly string[],
  options: CliOptions,
  ...patterns: RegExp[]
): Promise<string> {
  const started = startIngot(args, options);
  for (const pattern of patterns) await started.saying(pattern);
  process.kill(started.pid, 'SIGINT');
  const { exitCode, stderr } = await started.ended;
  expect(exitCode, stderr).toBe(130);
  return stderr;
}

describe('a package that is gone from the mirror', () => {
  let store: string;
  let server: MirrorServer;
  let env: Record<string, string>;
  let less: LockedPackage;
  let build: string[];

  beforeEach(async () => {
    store = storeWithPackages(image, join(folder, 'store'));
    const archive = join(folder, 'archive');
    mkdirSync(archive);
    server = await MirrorServer.start(archive);
    // A mirror that has nothing at all.
    env = {
      INGOT_MIRROR: `${server.url}/mirror/debian`,
      INGOT_SECURITY_MIRROR: `${server.url}/mirror/security`,
    };
    less = packageOf(await loadLock(lockFile), 'less');
    build = ['--store', store, 'build', image.declaration, '--output', join(folder, 'layout')];
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(store, { recursive: true });
    rmSync(join(folder, 'archive'), { recursive: true });
  });

  test('is built from the store, which has it', async () => {
    await untilSaid(build, { env }, /^Fetch packages: cached, /);
    expect(server.requests).toEqual([]);
  });

  test('comes from the snapshot archive of the lock’s time', async () => {
    const { created } = await loadLock(lockFile);
    const moment = new Date(created).toISOString().replaceAll(/[-:]|\.\d+/g, '');
    moveToArchive(store, less, join(folder, 'archive/snapshot', less.archive, moment));
    const snapshot = { ...env, INGOT_SNAPSHOT: `${server.url}/snapshot/{archive}/{timestamp}` };
    await untilSaid(build, { env: snapshot }, /^Fetch packages: done in .*, 1 packages/);
    expect(server.requests).toEqual([
      `/mirror/debian/${less.filename}`,
      `/snapshot/debian/${moment}/${less.filename}`,
    ]);
    expect(readFileSync(packageFile(store, less))).toHaveLength(less.size);
  });

  test('and from everywhere else is PACKAGE_GONE, with the command that mends it', async () => {
    rmSync(packageFile(store, less));
    const { exitCode, stdout, stderr } = await ingot([...build, '--json'], { env });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(
      `error[PACKAGE_GONE]: less ${less.version} is no longer on the configured mirror`,
    );
    expect(stderr).toContain('`ingot lock FILE --update less`');
    expect(stderr).not.toContain('127.0.0.1');
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'PACKAGE_GONE' } });
  });
});

test('quickstart with a lock that can no longer be met says so, locks afresh beside its output, and goes on', async () => {
  const project = join(folder, 'project');
  mkdirSync(project);
  const declaration = join(project, 'debian-minimal.yaml');
  cpSync(image.declaration, declaration);
  const { version, sha256 } = packageOf(await loadLock(lockFile), 'openssh-server');
  // One that no mirror ever had.
  const lock = readFileSync(lockFile, 'utf8')
    .split('\n')
    .map((line) =>
      line.includes('{name: openssh-server, ')
        ? line
            .replace(`version: ${version}`, 'version: 1:0.1-1')
            .replace(sha256, 'f'.repeat(64))
            .replace(/filename: \S+,/, 'filename: pool/main/o/openssh/openssh-server_0.1-1_amd64.deb,')
        : line,
    )
    .join('\n');
  expect(lock).toContain('openssh-server_0.1-1');
  const own = declaration.replace('.yaml', '.lock.yaml');
  writeFileSync(own, lock);

  const output = join(folder, 'quickstart');
  const stderr = await untilSaid(
    ['--store', image.store, 'quickstart', declaration, '--output', output],
    {},
    /^locking afresh, into /,
    /^Fetch packages: (?:cached|done)/,
  );
  const fresh = join(output, 'debian-minimal.lock.yaml');
  expect(stderr).toContain(
    `warning: ${own} cannot be built any more: openssh-server 1:0.1-1 is no longer on`,
  );
  expect(stderr).toContain(`locking afresh, into ${fresh}`);
  expect(stderr).toMatch(new RegExp(`^ {2}~ openssh-server 1:0\\.1-1 → `, 'm'));
  expect(packageOf(await loadLock(fresh), 'openssh-server').version).not.toBe('1:0.1-1');
  // The declaration's own is left alone.
  expect(readFileSync(own, 'utf8')).toBe(lock);
});
