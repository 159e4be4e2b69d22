/**
 * Where package archives are fetched from: the user's environment, else the machine's own apt configuration,
 * else Debian's public address.
 *
 * Addresses stay inside this process and the store's apt state. They never reach a lock, an image, a log or an
 * error message: people put credentials and internal host names into them.
 */
import { readFile } from 'node:fs/promises';

import { IngotError } from '../errors.ts';
import { together } from '../proc/together.ts';
import type { IndexTarget } from '../tools/apt.ts';
import { machineIndexTargets, machineProxies } from '../tools/machine-apt.ts';
import type { LockedArchive } from './package.ts';

export interface Mirrors {
  /** Address of an archive's root, without a slash at its end. */
  urlOf(archive: string): string;
  /** Address of an archive's root as it was at a time, or undefined without a snapshot service. */
  snapshotOf(archive: string, time: Date): string | undefined;
  /** In the form of `http_proxy` and friends. */
  readonly proxies: Readonly<Record<string, string>>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const PUBLIC_MIRROR = 'http://deb.debian.org/debian';
const PROXY_VARIABLES = ['http_proxy', 'https_proxy', 'no_proxy'] as const;

/** @throws IngotError ENVIRONMENT when a variable does not hold an address. */
export async function loadMirrors(env: Environment, signal?: AbortSignal): Promise<Mirrors> {
  const given = env['INGOT_MIRROR'] !== undefined && env['INGOT_MIRROR'] !== '';
  const [targets, proxies] = await together(
    (async () => (given || !(await isDebian()) ? [] : machineIndexTargets(signal)))(),
    machineProxies(signal),
  );
  return mirrorsFrom(env, targets, proxies);
}

/** The decision itself. `targets` are the machine's package indexes, `proxies` those of its apt. */
export function mirrorsFrom(
  env: Environment,
  targets: readonly IndexTarget[],
  proxies: Readonly<Record<string, string>> = {},
): Mirrors {
  const main =
    addressIn(env, 'INGOT_MIRROR') ??
    targets.map((target) => mainOf(target)).find(isPresent) ??
    PUBLIC_MIRROR;
  const security =
    addressIn(env, 'INGOT_SECURITY_MIRROR') ??
    targets.map((target) => securityOf(target)).find(isPresent) ??
    siblingArchive(main, 'debian-security');
  const snapshot = snapshotTemplate(env);
  const fromEnvironment = Object.fromEntries(
    PROXY_VARIABLES.flatMap((name) => {
      const value = env[name] ?? env[name.toUpperCase()];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
  return {
    urlOf: (archive) =>
      archive === 'debian' ? main : archive === 'debian-security' ? security : siblingArchive(main, archive),
    snapshotOf: (archive, time) =>
      snapshot
        ?.replaceAll('{archive}', archive)
        .replaceAll('{timestamp}', time.toISOString().replaceAll(/[-:]|\.\d+/g, '')),
    proxies: { ...proxies, ...fromEnvironment },
  };
}

/** Mirrors that also know vendors' repositories, which have one place and no snapshots. */
export function withRepositories(mirrors: Mirrors, archives: readonly LockedArchive[]): Mirrors {
  const addresses = new Map(archives.flatMap(({ name, url }) => (url === undefined ? [] : [[name, url]])));
  if (addresses.size === 0) return mirrors;
  return {
    ...mirrors,
    urlOf: (archive) => addresses.get(archive)?.replace(/\/+$/, '') ?? mirrors.urlOf(archive),
    snapshotOf: (archive, time) => (addresses.has(archive) ? undefined : mirrors.snapshotOf(archive, time)),
  };
}

/** `…/debian` and `…/archive/debian/20250101T000000Z` lie beside the same with another archive's name. */
export function siblingArchive(main: string, archive: string): string {
  const url = new URL(main);
  const path = url.pathname.replace(/\/debian(?=\/[^/]*$|$)/, `/${archive}`);
  url.pathname = path === url.pathname ? `${path}${archive.replace(/^debian/, '')}` : path;
  return url.href;
}

function addressIn(env: Environment, variable: string): string | undefined {
  const value = env[variable];
  if (value === undefined || value === '') return undefined;
  const address = usableAddress(value);
  if (address === undefined) {
    throw new IngotError('ENVIRONMENT', `${variable} is not the address of a package archive`, {
      hint: `give an http, https or file address, such as ${variable}=${PUBLIC_MIRROR}`,
    });
  }
  return address;
}

function snapshotTemplate(env: Environment): string | undefined {
  const value = env['INGOT_SNAPSHOT'];
  if (value === undefined || value === '') return undefined;
  const sample = value.replaceAll('{archive}', 'debian').replaceAll('{timestamp}', '20250101T000000Z');
  if (!value.includes('{archive}') || usableAddress(sample) === undefined) {
    throw new IngotError('ENVIRONMENT', 'INGOT_SNAPSHOT is not a template of an archive address', {
      hint: 'such as INGOT_SNAPSHOT=https://snapshot.debian.org/archive/{archive}/{timestamp}',
    });
  }
  return value.replace(/\/+$/, '');
}

function usableAddress(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (!['http:', 'https:', 'file:'].includes(url.protocol)) return undefined;
  return url.href.replace(/\/+$/, '');
}

/** Labels come from the downloaded Release and are empty before the machine's first `apt-get update`. */
function mainOf(target: IndexTarget): string | undefined {
  const address = usableAddress(target.uri);
  if (address === undefined || target.component !== 'main' || /-security|\//.test(target.release))
    return undefined;
  const itself = target.label === 'Debian' || (target.label === '' && /\/debian(\/[^/]*)?$/.test(address));
  return itself ? address : undefined;
}

function securityOf(target: IndexTarget): string | undefined {
  const address = usableAddress(target.uri);
  if (address === undefined || target.component !== 'main') return undefined;
  const itself =
    target.label === 'Debian-Security' ||
    (target.label === '' && /\/debian-security(\/[^/]*)?$/.test(address));
  return itself ? address : undefined;
}

function isPresent(value: string | undefined): value is string {
  return value !== undefined;
}

async function isDebian(): Promise<boolean> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return /^ID="?debian"?$/m.test(release);
}
