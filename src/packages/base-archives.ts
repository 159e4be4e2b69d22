/** The archives that an image with dpkg configures for itself, and the keys that it trusts each by. Pure. */
import { IngotError } from '../errors.ts';
import { armourKeyring } from '../tools/apt.ts';
import { parseAptSources, type AptRepository } from './apt-sources.ts';
import type { IndexedArchive } from './indexes.ts';
import { binaryOf, keyFingerprints } from './keyring.ts';

/** What an image says of where its packages come from. Paths are without a slash at their beginning. */
export interface AptConfiguration {
  /** Files of sources.list(5) by path. */
  readonly sources: Readonly<Record<string, string>>;
  /** Keyrings by path, in ASCII armour. */
  readonly keyrings: Readonly<Record<string, string>>;
}

export interface BaseContext {
  /** The base, for messages. */
  readonly reference: string;
  /** As dpkg names it. */
  readonly architecture: string;
}

/** Keys that apt trusts for every repository that names none. */
const TRUSTED = /^etc\/apt\/trusted\.gpg(?:\.d\/[^/]+)?$/;

/**
 * In the order of the files, entries of one place and one set of keys as one archive.
 *
 * @throws IngotError MIRROR_UNTRUSTED for one whose keys the image does not have, or that asks for no signature;
 *   MIRROR_UNREACHABLE for an address that packages cannot be fetched from
 */
export function archivesOfImage(
  { sources, keyrings }: AptConfiguration,
  { reference, architecture }: BaseContext,
): IndexedArchive[] {
  const entries = Object.entries(sources)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .flatMap(([path, text]) => parseAptSources(path, text, architecture));
  const archives = new Map<string, IndexedArchive>();
  for (const entry of entries) {
    const url = addressOf(entry, reference);
    const keys = keysOf(entry, keyrings, reference);
    const { components, checkValidUntil } = entry;
    const place = JSON.stringify([url, components, keys, checkValidUntil]);
    const before = archives.get(place);
    const suites = [...new Set([...(before?.suites ?? []), ...entry.suites])];
    const taken = [...archives.values()].map(({ name }) => name);
    archives.set(place, {
      name: before?.name ?? freeName(url, suites, taken),
      url,
      suites,
      components: [...components],
      keyring: entry.signedBy?.startsWith('/') === true ? entry.signedBy : '/etc/apt/trusted.gpg.d',
      keys,
      isOfBase: true,
      checkValidUntil,
    });
  }
  return [...archives.values()];
}

function addressOf({ uri }: AptRepository, reference: string): string {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  const problem =
    url === undefined || !['http:', 'https:', 'file:'].includes(url.protocol)
      ? 'packages are fetched from http, https and file addresses alone'
      : url.password !== '' || url.username !== ''
        ? 'a password in an address would be in the lock'
        : undefined;
  if (problem === undefined) return uri;
  // The address itself may be what nobody should read.
  const shown = url === undefined ? uri : `${url.protocol}//${url.host}${url.pathname}`;
  throw new IngotError('MIRROR_UNREACHABLE', `${reference}: ${shown} cannot be used: ${problem}`, {
    hint: 'change the address in /etc/apt of the base',
  });
}

/** @returns the keys of all its keyrings, in one block of armour */
function keysOf(
  { signedBy, trusted, uri }: AptRepository,
  keyrings: AptConfiguration['keyrings'],
  reference: string,
): string {
  const untrusted = (what: string): IngotError =>
    new IngotError('MIRROR_UNTRUSTED', `${reference}: the repository ${uri} cannot be used: ${what}`, {
      hint: 'the base has to bring its keys: a keyring in /etc/apt/keyrings or /usr/share/keyrings, named by Signed-By',
    });
  if (trusted) throw untrusted('it says trusted=yes, and packages without a signature are not taken');
  const texts =
    signedBy === undefined
      ? Object.entries(keyrings).flatMap(([path, text]) => (TRUSTED.test(path) ? [text] : []))
      : signedBy.includes('-----BEGIN PGP')
        ? [unescaped(signedBy)]
        : signedBy.split(/[\s,]+/).map((path) => {
            if (!path.startsWith('/')) throw untrusted(`its key ${path} is named by its fingerprint alone`);
            const text = keyrings[path.slice(1)];
            if (text === undefined) throw untrusted(`the base does not have its keyring ${path}`);
            return text;
          });
  const binary = Buffer.concat(texts.map((text) => binaryOf(Buffer.from(text, 'latin1'))));
  if (keyFingerprints(binary).length === 0) throw untrusted('the base has no key for it');
  return armourKeyring(binary);
}

/** deb822 has ` .` for an empty line. */
function unescaped(text: string): string {
  return text.replaceAll(/^ ?\.$/gm, '').replaceAll(/^ /gm, '');
}

/** `archive.ubuntu.com/ubuntu`; with its suite where there are several of that place. */
function freeName(url: string, suites: readonly string[], taken: readonly string[]): string {
  const { host, pathname } = new URL(url);
  const name = `${host}${pathname}`.replaceAll(/^\/+|\/+$/g, '');
  let free = name;
  for (let number = 1; taken.includes(free); number += 1) {
    free = number === 1 ? `${name} ${suites.join(' ')}` : `${name} ${number}`;
  }
  return free;
}
