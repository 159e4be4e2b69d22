/** The stand-in of a package that dpkg-deb made, read by dpkg-deb and tar. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

import { ASIDE_BYTES, makeStandIn, UnfitPackage, type AsideFile } from '../src/build/debian/stand-in.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ingot-stand-in-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const LONG = `usr/share/${'deep/'.repeat(30)}`;
const large = (seed: string): string => seed.repeat(Math.ceil(ASIDE_BYTES / seed.length) + 1);

/** A package with what packages have, made by dpkg-deb; its files as dpkg-deb gives them. */
function makePackage(): { readonly deb: string; readonly files: string } {
  const tree = join(folder, 'tree');
  for (const path of ['DEBIAN', 'usr/bin', 'usr/lib', LONG]) mkdirSync(join(tree, path), { recursive: true });
  const control = [
    'Package: big',
    'Version: 1',
    'Architecture: all',
    'Maintainer: T <t@t>',
    'Description: t',
    '',
  ];
  writeFileSync(join(tree, 'DEBIAN/control'), control.join('\n'));
  writeFileSync(join(tree, 'usr/lib/libbig.so.1'), large('library '));
  symlinkSync('libbig.so.1', join(tree, 'usr/lib/libbig.so'));
  writeFileSync(join(tree, 'usr/bin/big'), large('program '));
  chmodSync(join(tree, 'usr/bin/big'), 0o4755);
  linkSync(join(tree, 'usr/bin/big'), join(tree, 'usr/bin/large'));
  writeFileSync(join(tree, 'usr/bin/small'), 'small');
  writeFileSync(join(tree, 'usr/bin/empty'), '');
  writeFileSync(join(tree, LONG, 'größe'), large('data '));
  const deb = join(folder, 'big.deb');
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', tree, deb]);
  const files = join(folder, 'files.tar');
  writeFileSync(files, execFileSync('dpkg-deb', ['--fsys-tarfile', deb]));
  return { deb, files };
}

/** A plain file is read as a pipe is. */
function standInOf(
  deb: string,
  files: string,
): { readonly standIn: string; readonly aside: readonly AsideFile[] } {
  const aside = mkdtempSync(join(folder, 'aside-'));
  const standIn = `${aside}.deb`;
  const job = { id: 0, pipe: files, deb, standIn, folder: aside, secret: 'mark' };
  return { standIn, aside: makeStandIn(job, () => undefined) };
}

const archiveOf = (part: 'ctrl' | 'fsys', deb: string): Buffer =>
  execFileSync('dpkg-deb', [`--${part}-tarfile`, deb]);
const listOf = (deb: string): string[] =>
  execFileSync('tar', ['--list', '--verbose', '--full-time', '--quoting-style=literal'], {
    input: archiveOf('fsys', deb),
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  }).split('\n');

test('a stand-in has all that the package has, but for the contents of large files', () => {
  const { deb, files } = makePackage();
  const { standIn, aside } = standInOf(deb, files);
  expect(archiveOf('ctrl', standIn)).toEqual(archiveOf('ctrl', deb));
  const paths = ['./usr/bin/big', './usr/lib/libbig.so.1', `./${LONG}größe`].sort();
  expect(aside.map(({ path }) => path).sort()).toEqual(paths);
  const [was, is] = [listOf(deb), listOf(standIn)];
  const sizes = was.map((line) => line.startsWith('-') && paths.some((path) => line.endsWith(` ${path}`)));
  expect(sizes.filter(Boolean)).toHaveLength(paths.length);
  const withoutSize = (line: string, at: number): string =>
    sizes[at] === true ? line.replace(/ +\d+ /, ' ') : line;
  expect(is.map(withoutSize)).toEqual(was.map(withoutSize));
  expect(is).not.toEqual(was);
  const unpacked = join(folder, 'unpacked');
  execFileSync('dpkg-deb', ['--extract', standIn, unpacked]);
  expect(readFileSync(join(unpacked, 'usr/bin/small'), 'utf8')).toBe('small');
  for (const { path, file, mark } of aside) {
    expect(readFileSync(join(unpacked, path), 'utf8')).toBe(mark);
    expect(readFileSync(file)).toEqual(readFileSync(join(folder, 'tree', path)));
  }
  expect(new Set(aside.map(({ mark }) => mark)).size).toBe(paths.length);
});

test('what dpkg might read otherwise has none', () => {
  const { deb, files } = makePackage();
  const good = readFileSync(files);
  const refused = (bytes: Buffer, package_ = deb): string => {
    const other = join(folder, 'other.tar');
    writeFileSync(other, bytes);
    try {
      standInOf(package_, other);
    } catch (error) {
      if (error instanceof UnfitPackage) return error.message;
      throw error;
    }
    return 'accepted';
  };
  expect(refused(good)).toBe('accepted');
  const pax = execFileSync('tar', ['--create', '--format=pax', '--directory', join(folder, 'tree'), './usr']);
  expect(refused(pax)).toMatch(/entry of type "[xg]"/);
  const device = execFileSync('tar', ['--create', '--format=gnu', '/dev/null'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  expect(refused(device)).toMatch(/entry of type "3"/);
  expect(refused(good.subarray(0, good.length / 2))).toMatch(/end early/);
  expect(refused(Buffer.alloc(0))).toMatch(/end early/);
  const damaged = Buffer.from(good);
  damaged[2] = (damaged[2] ?? 0) ^ 1;
  expect(refused(damaged)).toMatch(/wrong checksum/);
  const notLatin = join(folder, 'names');
  mkdirSync(notLatin);
  writeFileSync(Buffer.concat([Buffer.from(`${notLatin}/`), Buffer.from([0xff])]), large('x'));
  expect(refused(execFileSync('tar', ['--create', '--format=gnu', '--directory', notLatin, '.']))).toMatch(
    /not UTF-8/,
  );
  writeFileSync(join(folder, 'no.deb'), 'no package');
  expect(refused(good, join(folder, 'no.deb'))).toMatch(/no ar archive/);
  writeFileSync(join(folder, 'short.deb'), readFileSync(deb).subarray(0, 80));
  expect(refused(good, join(folder, 'short.deb'))).toMatch(/ends before its files/);
});
