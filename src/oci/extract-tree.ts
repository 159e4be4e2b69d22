/**
 * Lays the archives of one layer out as an overlay's upper directory: removals become what overlayfs takes for them.
 * Archives come from elsewhere, and this one knows how they were written: a directory before what is in it, nothing
 * twice but directories, no devices. Whatever is otherwise is refused, so no name ever leads through a link.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { run } from '../proc/run.ts';
import { mknodWhiteoutArgv } from '../tools/mknod.ts';
import { setfattrArgv } from '../tools/setfattr.ts';
import type { ContentSink, TarMember } from './tar-parser.ts';

export interface ExtractLimits {
  readonly entries: number;
  /** Of contents. */
  readonly bytes: number;
}

/** All that trees carry; others are the build machine's own, or rights that nobody asked for. */
const ATTRIBUTES = /^(?:security\.capability|system\.posix_acl_(?:access|default)|user\..+)$/;
const OPAQUE = '.wh..wh..opq';

export class TreeExtractor implements Disposable {
  readonly #root: string;
  /** The file that is being written. */
  #open: number | undefined;
  readonly #left: { entries: number; bytes: number };
  /** The only folders that anything is put into. */
  readonly #directories = new Set(['']);
  /** Everything else, by its path: what a hard link may name. */
  readonly #others = new Set<string>();
  readonly #removals = new Set<string>();
  readonly #opaque = new Set<string>();
  readonly #attributes = new Map<string, ReadonlyMap<string, Buffer>>();

  /** @param root an empty directory */
  constructor(root: string, limits: ExtractLimits) {
    this.#root = root;
    this.#left = { ...limits };
  }

  /** For a TarParser. @throws Error about an entry that is refused; the system's error where it cannot be written */
  see(member: TarMember): ContentSink | undefined {
    const { path, type, xattrs } = member;
    this.#left.entries -= 1;
    this.#left.bytes -= member.size;
    if (this.#left.entries < 0 || this.#left.bytes < 0) throw new Error('it holds more than it says');
    const slash = path.lastIndexOf('/');
    const folder = path.slice(0, Math.max(slash, 0));
    const name = path.slice(slash + 1);
    if (name === '') throw new Error('it has an entry for its root');
    if (!this.#directories.has(folder)) throw new Error(`/${path} is in no directory of this archive`);
    if (name.startsWith('.wh.')) {
      this.#remove(folder, name, member);
      return undefined;
    }
    for (const key of xattrs.keys()) {
      if (!ATTRIBUTES.test(key)) throw new Error(`/${path} has the attribute ${key}`);
    }
    if (type === 'directory') {
      this.#makeDirectory(member);
    } else if (this.#isTaken(path)) {
      throw new Error(`/${path} is there twice`);
    } else {
      this.#others.add(path);
    }
    if (xattrs.size > 0) this.#attributes.set(path, xattrs);
    return this.#fill(member);
  }

  /**
   * Makes removals and attributes, and gives times: to directories and removals, whose times archives do not keep, and
   * to `undated`.
   *
   * @throws Error for a path in `undated` that no archive had
   */
  async finish(undated: Iterable<string>, time: number, signal?: AbortSignal): Promise<void> {
    for (const path of this.#removals) {
      await run(mknodWhiteoutArgv(join(this.#root, path)), { signal });
    }
    for (const [path, attributes] of this.#attributes) {
      for (const [name, value] of attributes) {
        await run(setfattrArgv(name, value, join(this.#root, path)), { signal });
      }
    }
    for (const path of this.#opaque) {
      await run(setfattrArgv('trusted.overlay.opaque', Buffer.from('y'), join(this.#root, path)), { signal });
    }
    for (const path of undated) {
      if (!this.#others.has(path)) throw new Error(`it dates /${path}, which it does not have`);
      lutimesSync(join(this.#root, path), time, time);
    }
    for (const path of this.#removals) lutimesSync(join(this.#root, path), time, time);
    for (const path of this.#directories) {
      if (path !== '') utimesSync(join(this.#root, path), time, time);
    }
  }

  #isTaken(path: string): boolean {
    return this.#others.has(path) || this.#directories.has(path) || this.#removals.has(path);
  }

  #remove(folder: string, name: string, { type, size }: TarMember): void {
    if (type !== 'file' || size !== 0) throw new Error(`/${folder}/${name} is no removal`);
    if (name === OPAQUE) {
      this.#opaque.add(folder);
      return;
    }
    const removed = name.slice('.wh.'.length);
    const path = folder === '' ? removed : `${folder}/${removed}`;
    const isName = removed !== '' && removed !== '.' && removed !== '..' && !removed.startsWith('.wh.');
    if (!isName || this.#isTaken(path)) throw new Error(`/${folder}/${name} removes what cannot be removed`);
    this.#removals.add(path);
  }

  /** In each archive that has something below it. */
  #makeDirectory({ path, mode, uid, gid }: TarMember): void {
    const real = join(this.#root, path);
    if (!this.#directories.has(path)) {
      if (this.#isTaken(path)) throw new Error(`/${path} is there twice`);
      mkdirSync(real, { mode: 0o700 });
      this.#directories.add(path);
    }
    chownSync(real, uid, gid);
    chmodSync(real, mode);
  }

  #fill({ path, type, mode, uid, gid, mtime, target = '' }: TarMember): ContentSink | undefined {
    const real = join(this.#root, path);
    switch (type) {
      case 'directory':
        return undefined;
      case 'file':
        return this.#write(real, { mode, uid, gid, mtime });
      case 'symlink':
        symlinkSync(target, real);
        lchownSync(real, uid, gid);
        lutimesSync(real, mtime, mtime);
        return undefined;
      case 'hardlink':
        if (target === path || !this.#others.has(target)) {
          throw new Error(`/${path} is a link to ${JSON.stringify(target)}, which is no file before it`);
        }
        linkSync(join(this.#root, target), real);
        return undefined;
      case 'fifo':
      case 'character-device':
      case 'block-device':
      case undefined:
        throw new Error(`/${path} is a ${type ?? 'thing of an unknown kind'}`);
    }
  }

  #write(
    path: string,
    { mode, uid, gid, mtime }: Pick<TarMember, 'mode' | 'uid' | 'gid' | 'mtime'>,
  ): ContentSink {
    const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
    const file = openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o600);
    this.#open = file;
    return {
      write: (bytes) => {
        for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
      },
      end: () => {
        fchownSync(file, uid, gid);
        fchmodSync(file, mode);
        futimesSync(file, mtime, mtime);
        this[Symbol.dispose]();
      },
    };
  }

  [Symbol.dispose](): void {
    if (this.#open !== undefined) closeSync(this.#open);
    this.#open = undefined;
  }
}
