/** dpkg and dpkg-deb. Manuals: dpkg(1), dpkg-deb(1). */
import type { Argv } from '../proc/run.ts';

/** Writes the file system part of a package as a tar stream. */
export function dpkgDebFsysTarArgv(deb: string): Argv {
  return ['dpkg-deb', '--fsys-tarfile', deb];
}

/** GNU tar reading standard input into `directory`, keeping owners, modes and links to directories (merged /usr). */
export function tarExtractArgv(directory: string): Argv {
  return [
    'tar',
    '--extract',
    '--numeric-owner',
    '--same-owner',
    '--same-permissions',
    '--keep-directory-symlink',
    '--directory',
    directory,
  ];
}

/** Crash safety comes from building in a scratch folder, so dpkg need not sync each file. */
const DPKG = ['dpkg', '--force-unsafe-io'] as const;

/** Unpacks and configures, although dependencies may not be there yet: for the essential set only. */
export function dpkgInstallArgv(debs: readonly string[]): Argv {
  return [...DPKG, '--force-depends', '--install', ...debs];
}

/**
 * Unpacks without configuring. `triggers: false` also leaves triggers for later.
 * Replacing a configuration file that a layer definition put there first keeps ours.
 */
export function dpkgUnpackArgv(debs: readonly string[], options: { readonly triggers: boolean }): Argv {
  return [...DPKG, '--force-depends', ...(options.triggers ? [] : ['--no-triggers']), '--unpack', ...debs];
}

export function dpkgConfigureArgv(): Argv {
  return [...DPKG, '--force-confold', '--configure', '--pending'];
}

export function dpkgAuditArgv(): Argv {
  return ['dpkg', '--audit'];
}

/** The package a failed dpkg run names: `dpkg: error processing package NAME (--configure):`. */
export function parseDpkgFailure(output: string): string[] {
  const names = [...output.matchAll(/^dpkg: error processing (?:package|archive) (\S+)/gm)].map(
    (match) => match[1] ?? '',
  );
  return [...new Set(names)];
}

/** Unpacks the files of a package, and runs nothing of it. */
export function dpkgDebExtractArgv(deb: string, directory: string): Argv {
  return ['dpkg-deb', '--extract', deb, directory];
}

/** The package that a line of dpkg says it begins with: `Unpacking NAME (VERSION) ...`. */
export function packageAtWork(line: string): string | undefined {
  return /^(?:Preparing to unpack \S*\/|Unpacking |Setting up |Processing triggers for )(\S+) /.exec(
    line,
  )?.[1];
}
