/** rpm and rpmkeys, of a root of their own. Manuals: rpm(8), rpmkeys(8). */
import type { Argv } from '../proc/run.ts';

/**
 * rpm of another root, as a program of the root that it installs into: it finds its own libraries through that root's
 * loader, and everything else where it is. So scripts need no second root to change to.
 *
 * @param tools where the `/usr` of that other root is seen
 */
export function rpmOf(tools: string): readonly [string, ...string[]] {
  return [
    `${tools}/lib64/ld-linux-x86-64.so.2`,
    '--library-path',
    `${tools}/lib/x86_64-linux-gnu`,
    `${tools}/bin/rpm`,
  ];
}

/** What tells rpm of another root where its own macros and settings are. */
export function rpmEnvironment(tools: string): Readonly<Record<string, string>> {
  return { RPM_CONFIGDIR: `${tools}/lib/rpm` };
}

/**
 * Installs, and upgrades what is there. Crash safety comes from building in a scratch folder, so nothing is synced.
 * Who has asked for a version by name may get an older one than there was.
 */
export function rpmInstallArgv(
  rpm: readonly [string, ...string[]],
  database: string,
  files: readonly string[],
): Argv {
  return [
    ...rpm,
    ...databaseOf(database),
    '--define',
    '_flush_io 0',
    '--define',
    '__plugindir /nowhere',
    '--upgrade',
    '--verbose',
    '--oldpackage',
    // Whose they are was looked at when they were locked, and each is what the lock says.
    '--nosignature',
    '--',
    ...files,
  ];
}

function databaseOf(folder: string): string[] {
  return ['--define', `_dbpath ${folder}`, '--define', '_db_backend sqlite'];
}

export function rpmkeysImportArgv(database: string, keys: readonly string[]): Argv {
  return ['rpmkeys', '--define', `_dbpath ${database}`, '--import', ...keys];
}

/** Prints a line for each file; the exit code says whether all are signed by an imported key. */
export function rpmkeysCheckArgv(database: string, files: readonly string[]): Argv {
  return [
    'rpmkeys',
    '--define',
    `_dbpath ${database}`,
    '--define',
    '_pkgverify_level all',
    '--checksig',
    ...files,
  ];
}

/** Files that `rpmkeys --checksig` finds fault with: `FILE: digests SIGNATURES NOT OK`. */
export function parseUnsigned(output: string): string[] {
  return [...output.matchAll(/^(.+\.rpm): (?!.*\bOK$).*$|^(.+\.rpm): .*NOT OK$/gm)].map(
    ([, left, right]) => left ?? right ?? '',
  );
}

export interface RpmFailure {
  /** `name-version-release.architecture`, as rpm calls it. */
  readonly package: string;
  readonly what: string;
}

const SCRIPTS: Readonly<Record<string, string>> = {
  prein: '%pre',
  post: '%post',
  postin: '%post',
  preun: '%preun',
  postun: '%postun',
  pretrans: '%pretrans',
  posttrans: '%posttrans',
  triggerin: '%triggerin',
};

/**
 * What went wrong, by package. A script that fails after its package was installed is a warning to rpm, whose exit
 * code is 0 then: it stands here beside the errors.
 */
export function parseRpmFailures(output: string): RpmFailure[] {
  const failures = output.split('\n').flatMap((line): RpmFailure[] => {
    const script = /%([a-z]+)(?:\([^)]*\))?\((\S+)\) scriptlet failed, (.*)$/.exec(line);
    if (script !== null) {
      const [, name = '', nevra = '', how = ''] = script;
      return [{ package: nevra, what: `its script ${SCRIPTS[name] ?? `%${name}`} failed (${how})` }];
    }
    const conflict =
      /file (\S+) (?:from install of (\S+) conflicts with file from package (\S+)|conflicts between attempted installs of (\S+) and (\S+))/.exec(
        line,
      );
    if (conflict !== null) {
      const [, file = '', fresh, old, left, right] = conflict;
      return [{ package: fresh ?? left ?? '', what: `${file} is also a file of ${old ?? right ?? ''}` }];
    }
    const failed = /^error: (\S+): (?:install|erase) (?:failed|skipped)$/.exec(line.trim());
    return failed === null ? [] : [{ package: failed[1] ?? '', what: 'it could not be installed' }];
  });
  // The first reason of a package tells; that it could not be installed follows from it.
  return [
    ...new Map(failures.toReversed().map((failure) => [failure.package, failure])).values(),
  ].toReversed();
}

/** The package that a line of `rpm --verbose` says it is at: its name, version, release and architecture. */
export function rpmAtWork(line: string): string | undefined {
  return /^([A-Za-z0-9][\w.+~^-]*-(?:\d+:)?[\w.+~^]+-[\w.+~^]+\.[a-z0-9_]+)$/.exec(line.trim())?.[1];
}

/** `hello` of `hello-1:2.0-3.noarch`. */
export function nameOfNevra(nevra: string): string {
  return /^(.+)-[^-]+-[^-]+$/.exec(nevra)?.[1] ?? nevra;
}
