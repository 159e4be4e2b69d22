/** Which repositories packages come from, and the keys that each is trusted by: those of the image, and of layers. */
import type { RpmLayerRepository } from '../../catalog/layer.ts';
import { IngotError } from '../../errors.ts';
import { keyFingerprints, loadKeyring } from '../keyring.ts';
import type { TrustedRepository } from './metadata.ts';
import { parseRepositories, type RpmRepository } from './repository-file.ts';

export interface RepositoryContext {
  /** `VERSION_ID` of the base. */
  readonly release: string;
  /** As rpm names it. */
  readonly architecture: string;
  /** The base, for messages. */
  readonly reference: string;
}

const REPOSITORY_FOLDER = 'etc/yum.repos.d/';
const VARIABLE_FILE = /^etc\/(?:dnf|yum)\/vars\/([^/]+)$/;

/** Debian's name to rpm's. */
export function rpmArchitecture(architecture: string): string {
  return architecture === 'amd64' ? 'x86_64' : architecture === 'arm64' ? 'aarch64' : architecture;
}

/**
 * The enabled repositories that an image configures.
 *
 * @param configuration the image's files by path
 * @throws IngotError MIRROR_UNTRUSTED for one that is signed by keys which the image does not have
 */
export function repositoriesOfImage(
  configuration: Readonly<Record<string, string>>,
  context: RepositoryContext,
): TrustedRepository[] {
  const variables = new Map([
    ['releasever', releaseVersion(context.release)],
    ['basearch', context.architecture],
    ['arch', context.architecture],
  ]);
  for (const [path, text] of Object.entries(configuration)) {
    const name = VARIABLE_FILE.exec(path)?.[1];
    if (name !== undefined) variables.set(name, text.split('\n', 1)[0]?.trim() ?? '');
  }
  const repositories = Object.entries(configuration)
    .filter(([path]) => path.startsWith(REPOSITORY_FOLDER))
    .flatMap(([, text]) => parseRepositories(text, variables));
  return repositories.map((repository) => trusted(repository, configuration, context));
}

/** Distributions with minor releases keep one repository for all of a major one. */
function releaseVersion(release: string): string {
  return release.replace(/\..*$/, '');
}

const ID = /^[A-Za-z0-9][\w.:-]*$/;

function trusted(
  { id, keys, ...rest }: RpmRepository,
  configuration: Readonly<Record<string, string>>,
  { reference }: RepositoryContext,
): TrustedRepository {
  const untrusted = (what: string): IngotError =>
    new IngotError('MIRROR_UNTRUSTED', `${reference}: the repository ${id} cannot be used: ${what}`, {
      hint: 'the base has to bring its keys, or say that it has none with gpgcheck=0',
    });
  if (!ID.test(id)) throw untrusted('its name has characters that none has');
  const isSigned = rest.signsPackages || rest.signsIndex;
  if (!isSigned) return { id, ...rest, keys: [], fingerprints: [] };
  const texts = keys.map((address) => {
    const path = /^file:\/\/\/(.+)$/.exec(address)?.[1];
    const text = path === undefined ? undefined : configuration[path];
    if (text === undefined) throw untrusted(`the base does not have its key ${address}`);
    return text;
  });
  const fingerprints = texts.flatMap((text) => keyFingerprints(Buffer.from(text)));
  if (fingerprints.length === 0) throw untrusted('it is signed, and names no key');
  return { id, ...rest, keys: texts, fingerprints };
}

/** A vendor's, with the one key that the layer pins. @throws IngotError ENVIRONMENT, MIRROR_UNTRUSTED */
export async function repositoryOfLayer(
  { name, url, signs, key }: RpmLayerRepository,
  { release, architecture }: RepositoryContext,
): Promise<TrustedRepository> {
  const armoured = await loadKeyring({ path: key.keyring, fingerprint: key.fingerprint });
  return {
    id: name,
    baseUrls: [url.replaceAll('{release}', release).replaceAll('{arch}', architecture).replace(/\/+$/, '')],
    signsPackages: signs === 'packages',
    signsIndex: signs === 'index',
    keys: [armoured],
    fingerprints: [key.fingerprint],
    priority: 99,
    excludes: [],
  };
}
