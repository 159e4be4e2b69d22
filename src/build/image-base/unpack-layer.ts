/**
 * Lays one layer of an image over what lower layers left in a directory (OCI image layer specification, "Applying
 * Changesets"). The archive is a stranger's: every path and every target of a hard link is resolved inside of the
 * root, whatever links it has made there.
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
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
  type Stats,
} from 'node:fs';
import { join } from 'node:path';

import type { ContentSink, TarMember } from '../../oci/tar-parser.ts';

const MAX_LINKS = 40;
const MAX_ENTRIES = 4_000_000;
const MAX_BYTES = 256 * 1024 ** 3;
/** What an archive of a tree would keep; labels and the like are the node's own matter. */
const KEPT_ATTRIBUTES = /^(?:security\.capability$|user\.)/;
/** Made anew on every boot: what cannot be unpacked here is missed by nobody. */
const VOLATILE = /^(?:dev|run|tmp|proc|sys)\//;

export interface FileAttributes {
  /** Absolute. */
  readonly path: string;
  readonly attributes: ReadonlyMap<string, Buffer>;
}

export class LayerUnpacker {
  readonly #root: string;
  /** Real paths that this layer has written: its own removals are of what lies below it. */
  readonly #fresh = new Set<string>();
  readonly #directories = new Map<string, number>();
  readonly #attributes = new Map<string, ReadonlyMap<string, Buffer>>();
  /** Folders by their path in the archive; forgotten whenever a link may have come or gone. */
  readonly #resolved = new Map<string, string>();
  #entries = 0;
  #bytes = 0;

  /** @param root an existing directory, its path without links */
  constructor(root: string) {
    this.#root = root;
  }

  /** @throws Error about an entry that cannot be */
  see(member: TarMember): ContentSink | undefined {
    const { path, type, size, xattrs } = member;
    this.#entries += 1;
    this.#bytes += size;
    if (this.#entries > MAX_ENTRIES || this.#bytes > MAX_BYTES) {
      throw new Error('it unpacks to more than an image can sensibly hold');
    }
    if (path === '') return undefined;
    const slash = path.lastIndexOf('/');
    const name = path.slice(slash + 1);
    const folder = slash === -1 ? '' : path.slice(0, slash);
    if (name.startsWith('.wh.')) {
      this.#remove(folder, name);
      return undefined;
    }
    const real = join(this.#folder(folder), name);
    const there = lstatSync(real, { throwIfNoEntry: false });
    if (type !== 'directory' || there?.isDirectory() === false) this.#clear(real, there);
    const sink = this.#make(real, member);
    this.#fresh.add(real);
    const kept = new Map([...xattrs].filter(([key]) => KEPT_ATTRIBUTES.test(key)));
    if (kept.size > 0) this.#attributes.set(real, kept);
    return sink;
  }

  /** Sets what later entries would have changed again. @returns attributes that are still to be set */
  finish(): readonly FileAttributes[] {
    for (const [path, mtime] of [...this.#directories].reverse()) {
      if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) utimesSync(path, mtime, mtime);
    }
    return [...this.#attributes].map(([path, attributes]) => ({ path, attributes }));
  }

  #make(real: string, member: TarMember): ContentSink | undefined {
    const { type, mode, uid, gid, mtime, target = '', path } = member;
    switch (type) {
      case 'directory':
        mkdirSync(real, { recursive: true });
        chownSync(real, uid, gid);
        chmodSync(real, mode);
        this.#directories.set(real, mtime);
        return undefined;
      case 'symlink':
        symlinkSync(target, real);
        lchownSync(real, uid, gid);
        lutimesSync(real, mtime, mtime);
        this.#resolved.clear();
        return undefined;
      case 'hardlink':
        this.#link(real, path, target);
        return undefined;
      case 'file':
        return writer(real, member);
      case 'fifo':
      case 'character-device':
      case 'block-device':
      case undefined:
        if (VOLATILE.test(path)) return undefined;
        throw new Error(`/${path} is a ${type ?? 'file of an unknown kind'}, which no base needs`);
    }
  }

  #link(real: string, path: string, target: string): void {
    const parts = target.split('/').filter((part) => part !== '' && part !== '.');
    const name = parts.pop();
    if (name === undefined || name === '..' || parts.includes('..')) {
      throw new Error(`/${path} is a link to ${JSON.stringify(target)}, outside of the root`);
    }
    const source = join(this.#folder(parts.join('/')), name);
    const stats = lstatSync(source, { throwIfNoEntry: false });
    if (stats === undefined || stats.isDirectory()) {
      throw new Error(`/${path} is a link to /${target}, which is no file`);
    }
    linkSync(source, real);
  }

  /** `.wh.NAME`, or `.wh..wh..opq`: all of the folder that lower layers brought. */
  #remove(folder: string, name: string): void {
    const real = this.#folder(folder);
    const names = name === '.wh..wh..opq' ? readdirSync(real) : [name.slice('.wh.'.length)];
    for (const one of names) {
      if (one === '' || one === '.' || one === '..') throw new Error(`it removes ${JSON.stringify(one)}`);
      this.#clearLower(join(real, one));
    }
  }

  #clearLower(real: string): void {
    const stats = lstatSync(real, { throwIfNoEntry: false });
    if (stats === undefined) return;
    if (!this.#fresh.has(real)) this.#clear(real, stats);
    else if (stats.isDirectory()) for (const name of readdirSync(real)) this.#clearLower(join(real, name));
  }

  #clear(real: string, there: Stats | undefined): void {
    if (there === undefined) return;
    rmSync(real, { recursive: true });
    this.#attributes.delete(real);
    if (!there.isFile()) this.#resolved.clear();
  }

  /** The real path of a folder of the archive, made where it is missing. */
  #folder(path: string): string {
    const known = this.#resolved.get(path);
    if (known !== undefined) return known;
    let pending = path.split('/').filter((part) => part !== '');
    let resolved: string[] = [];
    let links = 0;
    for (let part = pending.shift(); part !== undefined; part = pending.shift()) {
      if (part === '.' || part === '..') {
        if (part === '..') resolved.pop(); // at the root it stays there, as the kernel has it
        continue;
      }
      const real = join(this.#root, ...resolved, part);
      const stats = lstatSync(real, { throwIfNoEntry: false });
      if (stats?.isSymbolicLink() === true) {
        links += 1;
        if (links > MAX_LINKS) throw new Error(`too many links in /${path}`);
        const target = readlinkSync(real);
        if (target.startsWith('/')) resolved = [];
        pending = [...target.split('/').filter((piece) => piece !== ''), ...pending];
        continue;
      }
      if (stats !== undefined && !stats.isDirectory()) this.#clear(real, stats);
      if (stats?.isDirectory() !== true) mkdirSync(real, { mode: 0o755 });
      resolved.push(part);
    }
    const real = join(this.#root, ...resolved);
    this.#resolved.set(path, real);
    return real;
  }
}

function writer(real: string, { mode, uid, gid, mtime }: TarMember): ContentSink {
  const file = openSync(real, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW, 0o600);
  return {
    write: (bytes) => {
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
    },
    end: () => {
      fchownSync(file, uid, gid);
      fchmodSync(file, mode);
      futimesSync(file, mtime, mtime);
      closeSync(file);
    },
  };
}
