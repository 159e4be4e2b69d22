/**
 * What software an image has: its package database, the copyright files, and whose layers they came with. Read from
 * the layers as data from a stranger: what it may cost in memory is bounded, and links lead nowhere but to other
 * copyright files.
 */
import { posix } from 'node:path';

import type { ContentSink, TarMember } from '../oci/tar-parser.ts';
import { readRpmDatabase, RPM_DATABASE, RPM_DATABASE_FOLDERS } from '../packages/rpm/rpm-database.ts';
import { parseStanzas } from '../packages/stanzas.ts';
import type { Stage } from '../report/events.ts';
import type { InstalledPackage, Software } from '../sbom/software.ts';
import type { ImageReader } from './image-reader.ts';
import { osReleaseField } from './read-base.ts';
import { parseLayer } from './read-layer.ts';

export interface ReadSoftwareOptions {
  readonly signal?: AbortSignal | undefined;
  readonly stage?: Stage | undefined;
}

const STATUS = ['usr/lib/sysimage/dpkg/status', 'var/lib/dpkg/status'];
const RPM_DATABASES: readonly string[] = RPM_DATABASE_FOLDERS.map((folder) => `${folder}/${RPM_DATABASE}`);
const OS_RELEASE = ['usr/lib/os-release', 'etc/os-release'];
const DOCUMENTATION = /^usr\/share\/doc\/([^/]+)(?:\/copyright)?$/;
const MAX_STATUS_BYTES = 32 * 1024 * 1024;
const MAX_RPM_BYTES = 256 * 1024 * 1024;
const MAX_COPYRIGHT_BYTES = 4 * 1024 * 1024;
const MAX_TEXT_BYTES = 256 * 1024 * 1024;
const MAX_FILES = 500_000;
const MAX_LINKS = 8;

/** @throws IngotError IMAGE_UNREADABLE for what is no layer, INTERRUPTED, and what the image throws */
export async function readSoftware(
  image: ImageReader,
  { signal, stage }: ReadSoftwareOptions = {},
): Promise<Software> {
  const files = new SoftwareFiles();
  const total = image.layers.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const layer of image.layers) {
    files.nextLayer(layer.annotations?.['dev.ingot.layer']);
    const onBytes = (bytes: number): void => {
      done += bytes;
      stage?.progress(done, total, 'bytes');
    };
    await parseLayer(image, layer, (member) => files.see(member), { signal, onBytes });
  }
  const osRelease = OS_RELEASE.map((path) => files.text(path)).find((text) => text !== undefined) ?? '';
  const status = STATUS.map((path) => files.text(path)).find((text) => text !== undefined);
  const field = (key: 'id' | 'release' | 'codename', name: string): Partial<Record<typeof key, string>> => {
    const value = osReleaseField(osRelease, name);
    return value === undefined ? {} : { [key]: value };
  };
  const rpms = RPM_DATABASES.map((path) => files.bytes(path)).find((bytes) => bytes !== undefined);
  const packages = status !== undefined ? installedIn(status) : rpms && rpmsIn(rpms);
  return {
    digest: image.digest,
    annotations: { ...image.config.config?.Labels, ...image.annotations },
    os: { ...field('id', 'ID'), ...field('release', 'VERSION_ID'), ...field('codename', 'VERSION_CODENAME') },
    architecture: image.config.architecture,
    packages,
    copyrights: new Map(
      (packages ?? []).flatMap(({ name }) => {
        const text = files.text(`usr/share/doc/${name}/copyright`);
        return text === undefined ? [] : [[name, text] as const];
      }),
    ),
    layers: new Map(
      (packages ?? []).flatMap(({ name }) => {
        const layer =
          files.layerOf(`usr/share/doc/${name}`) ?? files.layerOf(`usr/share/doc/${name}/copyright`);
        return layer === undefined ? [] : [[name, layer] as const];
      }),
    ),
  };
}

/** In name order. Of several architectures of one package, the first. */
function installedIn(status: string): InstalledPackage[] {
  const found = new Map<string, InstalledPackage>();
  for (const stanza of parseStanzas(status)) {
    const [name, version] = [stanza.get('package'), stanza.get('version')];
    const isInstalled = stanza.get('status')?.endsWith(' installed') === true;
    if (name === undefined || version === undefined || !isInstalled || found.has(name)) continue;
    // `util-linux (2.41.5-0+deb13u1)`: the version is said where it is another.
    const [, source = name, sourceVersion = version] =
      /^(\S+)(?:\s+\(([^)]+)\))?/.exec(stanza.get('source') ?? '') ?? [];
    found.set(name, {
      name,
      version,
      architecture: stanza.get('architecture') ?? 'all',
      source: { name: source, version: sourceVersion },
      maintainer: stanza.get('maintainer'),
      homepage: stanza.get('homepage'),
      depends: [stanza.get('pre-depends'), stanza.get('depends')].filter(Boolean).join(', '),
      provides: stanza.get('provides') ?? '',
    });
  }
  return [...found.values()].sort((left, right) =>
    left.name < right.name ? -1 : left.name > right.name ? 1 : 0,
  );
}

function rpmsIn(database: Buffer): InstalledPackage[] {
  return readRpmDatabase(database).map((one) => ({
    format: 'rpm',
    name: one.name,
    version: one.version,
    architecture: one.architecture,
    source: { name: one.source, version: one.sourceVersion ?? one.version },
    maintainer: one.vendor,
    homepage: one.homepage,
    licence: one.licence,
    depends: '',
    provides: '',
  }));
}

interface Entry {
  /** Of a file that tells something. */
  text?: string;
  /** Of a database. */
  bytes?: Buffer;
  /** Of a symbolic link. */
  readonly target?: string | undefined;
  readonly layer: string | undefined;
}

/** The files that tell, as the layers so far have them. */
class SoftwareFiles {
  readonly #entries = new Map<string, Entry>();
  /** What this layer has brought, which its own removals leave alone. */
  readonly #fresh = new Set<string>();
  #layer: string | undefined;
  #bytes = 0;

  nextLayer(name: string | undefined): void {
    this.#layer = name;
    this.#fresh.clear();
  }

  see(member: TarMember): ContentSink | undefined {
    const { path, type, size, target } = member;
    const slash = path.lastIndexOf('/') + 1;
    const name = path.slice(slash);
    if (name === '.wh..wh..opq') this.#forget(path.slice(0, slash));
    else if (name.startsWith('.wh.')) this.#forget(`${path.slice(0, slash)}${name.slice(4)}`);
    const isStatus = STATUS.includes(path);
    const isDatabase = RPM_DATABASES.includes(path);
    const isText = isStatus || isDatabase || OS_RELEASE.includes(path) || path.endsWith('/copyright');
    if (!isStatus && !isDatabase && !OS_RELEASE.includes(path) && !DOCUMENTATION.test(path)) return undefined;
    if (this.#entries.size >= MAX_FILES)
      throw new Error('it has more packages than an image can sensibly have');
    // Layers above have a folder again when they put something into it: who brought it first has it.
    if (type === 'directory' && this.#entries.has(path)) return undefined;
    const leads =
      type === 'symlink' ? posix.join(posix.dirname(`/${path}`), target ?? '') : `/${target ?? ''}`;
    const isLink = type === 'symlink' || type === 'hardlink';
    const absolute = type === 'symlink' && target?.startsWith('/') === true ? posix.normalize(target) : leads;
    const entry: Entry = { layer: this.#layer, ...(isLink && { target: absolute.replace(/^\/+/, '') }) };
    this.#entries.set(path, entry);
    this.#fresh.add(path);
    if (!isText || type !== 'file') return undefined;
    const limit = isDatabase ? MAX_RPM_BYTES : isStatus ? MAX_STATUS_BYTES : MAX_COPYRIGHT_BYTES;
    if (!isDatabase) this.#bytes += size;
    if (size > limit || this.#bytes > MAX_TEXT_BYTES) {
      throw new Error(`/${path} is larger than any such file can be`);
    }
    const chunks: Buffer[] = [];
    return {
      write: (bytes) => chunks.push(Buffer.from(bytes)),
      end: () => {
        const whole = Buffer.concat(chunks);
        if (isDatabase) entry.bytes = whole;
        else entry.text = whole.toString('utf8');
      },
    };
  }

  layerOf(path: string): string | undefined {
    return this.#entries.get(path)?.layer;
  }

  bytes(path: string): Buffer | undefined {
    return this.#entries.get(path)?.bytes;
  }

  /** Of a file, or of what a link at it or at its folder leads to. */
  text(path: string, links = 0): string | undefined {
    if (links > MAX_LINKS) return undefined;
    const entry = this.#entries.get(path);
    if (entry?.text !== undefined) return entry.text;
    if (entry?.target !== undefined) return this.text(entry.target, links + 1);
    const folder = this.#entries.get(posix.dirname(path));
    if (folder?.target === undefined) return undefined;
    return this.text(posix.join(folder.target, posix.basename(path)), links + 1);
  }

  /** A path, or with a slash at its end all that is below it. */
  #forget(path: string): void {
    const below = path === '' || path.endsWith('/') ? path : `${path}/`;
    for (const file of this.#entries.keys()) {
      if (!this.#fresh.has(file) && (file === path || file.startsWith(below))) this.#entries.delete(file);
    }
  }
}
