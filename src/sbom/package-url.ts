/** Package URLs (https://github.com/package-url/purl-spec), as far as images need them. Pure. */
import type { Digest } from '../digest.ts';

export interface DebianPurl {
  /** `debian`, or whose archive it is from. */
  readonly vendor: string;
  readonly name: string;
  readonly version: string;
  /** Of a binary package its own, of a source package `source`. */
  readonly architecture: string;
  /** Code name of the release, such as `trixie`. */
  readonly distribution?: string | undefined;
  /** Of an archive that is not the distribution's. */
  readonly repository?: string | undefined;
}

export function debianPurl({ vendor, name, version, architecture, ...more }: DebianPurl): string {
  const qualifiers = [
    ['arch', architecture],
    ['distro', more.distribution],
    ['repository_url', more.repository],
  ] as const;
  return `pkg:deb/${encode(vendor)}/${encode(name)}@${encode(version)}${query(qualifiers)}`;
}

export interface RpmPurl {
  /** ID of os-release(5). */
  readonly vendor: string;
  readonly name: string;
  /** `epoch:version-release`, without an epoch of 0. */
  readonly version: string;
  readonly architecture: string;
  /** Such as `fedora-42`. */
  readonly distribution?: string | undefined;
  /** Where it is from, if that is known. */
  readonly repository?: string | undefined;
}

/** The epoch is a qualifier: it is in no file name. */
export function rpmPurl({ vendor, name, version, architecture, ...more }: RpmPurl): string {
  const [, epoch, rest = version] = /^(\d+):(.+)$/.exec(version) ?? [];
  const qualifiers = [
    ['arch', architecture],
    ['distro', more.distribution],
    ['epoch', epoch],
    ['repository_url', more.repository],
  ] as const;
  const namespace = (vendor === 'rhel' ? 'redhat' : vendor).toLowerCase();
  return `pkg:rpm/${encode(namespace)}/${encode(name)}@${encode(rest)}${query(qualifiers)}`;
}

/** An image of a registry: named by the last part of its repository, and by its digest. */
export function ociPurl(repository: string, digest: Digest, tag?: string): string {
  const name = (repository.split('/').at(-1) ?? repository).toLowerCase();
  // sha256:… has its colon encoded, as the examples of the type have it.
  const version = encodeURIComponent(digest);
  const qualifiers = [
    ['repository_url', repository.includes('/') ? repository : undefined],
    ['tag', tag],
  ] as const;
  return `pkg:oci/${encode(name)}@${version}${query(qualifiers)}`;
}

/** In the order of their keys, and without those that have no value. */
function query(qualifiers: readonly (readonly [string, string | undefined])[]): string {
  const said = qualifiers.flatMap(([key, value]) =>
    value === undefined || value === '' ? [] : [`${key}=${encode(value).replaceAll('%2F', '/')}`],
  );
  return said.length === 0 ? '' : `?${said.join('&')}`;
}

/** Percent-encoded but for colons, which the specification leaves alone. */
function encode(text: string): string {
  return encodeURIComponent(text)
    .replaceAll(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%3A', ':');
}
