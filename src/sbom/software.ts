/** What was found in an image's layers of the software that it has. Values alone: reading is `src/inspect/`'s. */
import type { Digest } from '../digest.ts';

/** One package, as the database of dpkg or rpm has it. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly format?: 'rpm';
  readonly source: { readonly name: string; readonly version: string };
  /** `Debian Bash Team <bash@packages.debian.org>`, or rpm's vendor. */
  readonly maintainer: string | undefined;
  readonly homepage: string | undefined;
  /** Of rpm: the field `License`. */
  readonly licence?: string | undefined;
  /** Of dpkg: Pre-Depends and Depends, as the fields have them. */
  readonly depends: string;
  readonly provides: string;
}

export interface Software {
  readonly digest: Digest;
  readonly annotations: Readonly<Record<string, string>>;
  /** ID, VERSION_ID and VERSION_CODENAME of os-release(5). */
  readonly os: { readonly id?: string; readonly release?: string; readonly codename?: string };
  readonly architecture: string;
  /** In name order; undefined where the image has no package database that can be read. */
  readonly packages: readonly InstalledPackage[] | undefined;
  /** Text of the copyright file, by package. */
  readonly copyrights: ReadonlyMap<string, string>;
  /** Which step's layer brings a package's files, by package, where the image tells. */
  readonly layers: ReadonlyMap<string, string>;
}
