/** Some files of an image, as its layers one by one leave them: links followed, what is removed forgotten. */
import { posix } from 'node:path';

import type { ContentSink, TarMember } from '../oci/tar-parser.ts';

export interface FileChoice {
  /** Whether a path is to be read, or only known to be there. */
  readonly kindOf: (path: string) => 'content' | 'presence' | undefined;
  /** Bytes that a file to be read may have. */
  readonly limitOf: (path: string) => number;
}

/** A link to a link to a link is none that anybody makes. */
const MAX_LINKS = 8;

export class BaseFiles {
  readonly #choice: FileChoice;
  readonly #files = new Map<string, Buffer | undefined>();
  /** Where links lead to, of both kinds. */
  readonly #links = new Map<string, string>();
  /** Paths that links lead to, read in a second pass. */
  #targets: ReadonlySet<string> | undefined;
  /** What this layer has brought, which its own removals leave alone. */
  readonly #fresh = new Set<string>();

  constructor(choice: FileChoice) {
    this.#choice = choice;
  }

  nextLayer(): void {
    this.#fresh.clear();
  }

  /** True when there are links to files that were passed over: all layers have to be read again. */
  expectTargets(): boolean {
    const targets = new Set(
      [...this.#links.keys()].map((path) => this.#follow(path)).filter((path) => !this.#files.has(path)),
    );
    this.#targets = targets;
    return targets.size > 0;
  }

  see(member: TarMember): ContentSink | undefined {
    const { path, type } = member;
    if (this.#targets !== undefined) {
      return this.#targets.has(path) && type === 'file' ? this.#contentOf(path, member) : undefined;
    }
    const slash = path.lastIndexOf('/') + 1;
    const name = path.slice(slash);
    if (name === '.wh..wh..opq') this.#forget(path.slice(0, slash));
    else if (name.startsWith('.wh.')) this.#forget(`${path.slice(0, slash)}${name.slice(4)}`);
    const kind = this.#choice.kindOf(path);
    if (kind === undefined) return undefined;
    this.#files.delete(path);
    this.#links.delete(path);
    this.#fresh.add(path);
    if (kind === 'presence') {
      if (type === 'file' || type === 'hardlink') this.#files.set(path, undefined);
      return undefined;
    }
    if (type === 'file') return this.#contentOf(path, member);
    if (type === 'hardlink') this.#links.set(path, posix.join('.', member.target ?? ''));
    if (type === 'symlink') {
      const target = posix.resolve('/', posix.dirname(path), member.target ?? '');
      this.#links.set(path, target.slice(1));
    }
    return undefined;
  }

  content(path: string): Buffer | undefined {
    return this.#files.get(this.#follow(path));
  }

  text(path: string): string | undefined {
    return this.content(path)?.toString('utf8');
  }

  /** Of all that is there, in order. */
  paths(): string[] {
    return [...new Set([...this.#files.keys(), ...this.#links.keys()])].sort();
  }

  #contentOf(path: string, { size }: TarMember): ContentSink {
    if (size > this.#choice.limitOf(path)) throw new Error(`/${path} has ${size} bytes`);
    const chunks: Buffer[] = [];
    return {
      write: (bytes) => chunks.push(Buffer.from(bytes)),
      end: () => this.#files.set(path, Buffer.concat(chunks)),
    };
  }

  #follow(path: string): string {
    let place = path;
    for (let steps = 0; steps < MAX_LINKS; steps += 1) {
      const next = this.#links.get(place);
      if (next === undefined) return place;
      place = next;
    }
    return place;
  }

  /** A path, or with a slash at its end all that is below it. */
  #forget(path: string): void {
    const folder = path.endsWith('/') || path === '' ? path : `${path}/`;
    for (const file of this.paths()) {
      if (this.#fresh.has(file) || (file !== path && !file.startsWith(folder))) continue;
      this.#files.delete(file);
      this.#links.delete(file);
    }
  }
}
