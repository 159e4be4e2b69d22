import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { TarMember } from '../../oci/tar-parser.ts';
import { LayerUnpacker } from './unpack-layer.ts';

let folder: string;
let root: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ingot-unpack-'));
  root = join(folder, 'root');
  mkdirSync(root);
  mkdirSync(join(folder, 'outside'));
  writeFileSync(join(folder, 'outside/secret'), 'of the host');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const OWNER = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

function member(path: string, type: TarMember['type'], rest: Partial<TarMember> = {}): TarMember {
  const plain = { ...OWNER, mode: type === 'directory' ? 0o755 : 0o644, mtime: 1000, size: 0 };
  return { path, type, ...plain, target: undefined, device: undefined, xattrs: new Map(), ...rest };
}

const link = (path: string, target: string): TarMember => member(path, 'symlink', { target });

/** One layer: members, those that are files with their text. */
function layer(...members: readonly (TarMember | readonly [path: string, text: string])[]): void {
  const unpacker = new LayerUnpacker(root);
  for (const one of members) {
    const isFile = Array.isArray(one);
    const [path, text] = isFile ? (one as readonly [string, string]) : ['', ''];
    const sink = unpacker.see(isFile ? member(path, 'file', { size: text.length }) : (one as TarMember));
    if (isFile) sink?.write(Buffer.from(text));
    sink?.end();
  }
  unpacker.finish();
}

const read = (path: string): string => readFileSync(join(root, path), 'utf8');

describe('LayerUnpacker', () => {
  it('lays layers over each other', () => {
    layer(member('usr', 'directory'), ['usr/a', 'one'], ['usr/b', 'kept']);
    layer(['usr/a', 'two'], member('usr/c', 'hardlink', { target: 'usr/b' }));
    expect(read('usr/a')).toBe('two');
    expect(read('usr/c')).toBe('kept');
    expect(lstatSync(join(root, 'usr/c')).ino).toBe(lstatSync(join(root, 'usr/b')).ino);
  });

  it('gives directories their time after what is in them', () => {
    layer(member('usr', 'directory', { mode: 0o750, mtime: 500 }), ['usr/a', 'one']);
    const { mtimeMs, mode } = lstatSync(join(root, 'usr'));
    expect(mtimeMs).toBe(500_000);
    expect(mode & 0o7777).toBe(0o750);
  });

  it('removes what lower layers have, and not what its own has brought', () => {
    layer(['etc/old', '1'], ['etc/other', '2'], ['var/x', '3']);
    layer(['etc/new', 'n'], member('etc/.wh..wh..opq', 'file'), member('.wh.var', 'file'), ['etc/late', 'l']);
    expect(readdirSync(join(root, 'etc')).sort()).toEqual(['late', 'new']);
    expect(existsSync(join(root, 'var'))).toBe(false);
  });

  it('writes through links inside the root', () => {
    layer(member('usr/lib', 'directory'), link('lib', '/usr/lib'), ['lib/module', 'm']);
    expect(read('usr/lib/module')).toBe('m');
  });

  it('puts a directory in the place of a link, and a file in that of a directory', () => {
    layer(link('srv', 'var/srv'), member('opt/tool', 'directory'), ['opt/tool/file', 'f']);
    layer(member('srv', 'directory'), ['opt/tool', 'now a file']);
    expect(lstatSync(join(root, 'srv')).isDirectory()).toBe(true);
    expect(read('opt/tool')).toBe('now a file');
  });

  it.each([
    ['relative', '../outside'],
    ['absolute', '/../../outside'],
    ['the host’s own', ''],
  ])('never leaves the root by a link: %s', (_kind, target) => {
    const to = target === '' ? join(folder, 'outside') : target;
    layer(link('escape', to));
    layer(['escape/secret', 'changed'], member('escape/.wh.secret', 'file'));
    expect(readFileSync(join(folder, 'outside/secret'), 'utf8')).toBe('of the host');
    expect(readdirSync(join(folder, 'outside'))).toEqual(['secret']);
  });

  it('makes no hard link to a file of the host', () => {
    layer(link('escape', '../outside'));
    expect(() => {
      layer(member('mine', 'hardlink', { target: 'escape/secret' }));
    }).toThrow('no file');
    expect(() => {
      layer(member('mine', 'hardlink', { target: '../outside/secret' }));
    }).toThrow('outside of the root');
  });

  it.each(['.wh...', '.wh..', '.wh.'])('refuses the removal %s', (name) => {
    mkdirSync(join(root, 'etc'));
    expect(() => {
      layer(member(`etc/${name}`, 'file'));
    }).toThrow('it removes');
    expect(existsSync(root)).toBe(true);
  });

  it('refuses links in a circle, devices and what is too large', () => {
    layer(link('a', 'b'), link('b', 'a'));
    expect(() => {
      layer(['a/file', '']);
    }).toThrow('too many links');
    expect(() => {
      layer(member('usr/disk', 'block-device', { device: [8, 0] }));
    }).toThrow('block-device');
    layer(member('dev/null', 'character-device', { device: [1, 3] }));
    const unpacker = new LayerUnpacker(root);
    expect(() => unpacker.see(member('bomb', 'file', { size: 2 ** 50 }))).toThrow('more than an image');
  });
});
