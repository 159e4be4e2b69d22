/**
 * Whether archives from elsewhere are those of the layer that is wanted. Digests say that a blob is the one that was
 * kept, and nothing of whether it was kept under the right key. What a plan says of a layer can be told from its
 * archives as they go by: the packages whose files are in each, and how many entries.
 */
import { IngotError } from '../errors.ts';
import { type ContentSink, TarParser, type TarMember } from '../oci/tar-parser.ts';
import type { PlanStep } from '../plan/plan.ts';
import { DATABASE } from './debian/database.ts';
import type { PackedLayer } from './packed-layer.ts';

/** Takes the bytes of one archive. */
export interface ArchiveReader {
  write(bytes: Buffer): void;
  /** @throws Error, as `write` does, about an archive that cannot be read */
  end(): void;
}

const LIST = new RegExp(`^${DATABASE.slice(1)}/info/([^/:]+)(?::[^/]+)?\\.list$`);
const STATUS = `${DATABASE.slice(1)}/status`;

interface Seen {
  entries: number;
  readonly packages: Set<string>;
}

export class LayerInspection {
  readonly #step: PlanStep;
  readonly #seen = new Map<string, Seen>();
  readonly #status: Buffer[] = [];

  constructor(step: PlanStep) {
    this.#step = step;
  }

  /** For the archive of the chunk of this name. */
  reader(chunk: string): ArchiveReader {
    const seen: Seen = { entries: 0, packages: new Set() };
    this.#seen.set(chunk, seen);
    return new TarParser((member) => this.#see(member, seen));
  }

  #see({ path, type }: TarMember, seen: Seen): ContentSink | undefined {
    seen.entries += 1;
    if (type !== 'file') return undefined;
    const name = LIST.exec(path)?.[1];
    if (name !== undefined) seen.packages.add(name);
    if (path !== STATUS || this.#step.kind !== 'seal') return undefined;
    return {
      write: (bytes) => {
        this.#status.push(Buffer.from(bytes));
      },
      end: () => undefined,
    };
  }

  /**
   * Once all archives have gone by.
   *
   * @param all every step of the plan, whose packages the seal's database has
   * @throws IngotError IMAGE_INVALID
   */
  finish({ chunks }: PackedLayer, all: readonly PlanStep[], shown: string): void {
    const { name: layer, kind } = this.#step;
    const wrong = (what: string): IngotError => new IngotError('IMAGE_INVALID', `${shown} has ${what} for ${layer}`);
    // The chunk with a package's large files has none of its database.
    const planned = new Map(
      this.#step.chunks.map(({ name, packages, filesFrom }) => [name, filesFrom === undefined ? packages : []]),
    );
    for (const { name, entries } of chunks) {
      const seen = this.#seen.get(name);
      if (!planned.has(name) || seen === undefined) throw wrong('other chunks');
      if (seen.entries !== entries) throw wrong(`${seen.entries} entries instead of ${entries}`);
    }
    if (kind === 'base' || kind === 'unpack') {
      // A package that replaces files of another one has dpkg write that one's list anew.
      const below = all.filter((step) => this.#step.needs.includes(step.name));
      const known = new Set(below.flatMap(({ packages }) => packages.map((item) => item.name)));
      for (const [name, packages] of planned) {
        const there = this.#seen.get(name)?.packages ?? new Set<string>();
        const [lacking] = new Set(packages).difference(there);
        if (lacking !== undefined) throw wrong(`an archive without the package ${lacking}`);
        const [other] = there.difference(new Set(packages)).difference(known);
        if (other !== undefined) throw wrong(`an archive with the package ${other}`);
      }
    }
    const onImage = all.some((step) => step.kind === 'image-base');
    if (kind === 'seal' && !onImage && !isDatabaseOf(Buffer.concat(this.#status).toString(), all)) {
      throw wrong('a database of other packages');
    }
  }
}

/** Names and versions of installed packages are those of the plan. */
function isDatabaseOf(status: string, steps: readonly PlanStep[]): boolean {
  const field = (stanza: string, name: string): string =>
    new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1] ?? '';
  const stanzas = status.split(/\n{2,}/).filter((stanza) => stanza.trim() !== '');
  const installed = new Set(stanzas.map((stanza) => `${field(stanza, 'Package')} ${field(stanza, 'Version')}`));
  const planned = steps
    .filter(({ kind }) => kind === 'base' || kind === 'unpack')
    .flatMap(({ packages }) => packages.map(({ name, version }) => `${name} ${version}`));
  return installed.symmetricDifference(new Set(planned)).size === 0;
}
