/**
 * apt with a private configuration: nothing of the machine's own apt state is read or changed.
 *
 * A relative path in apt's `Dir` tree is silently ignored, so every path here is absolute. Paths may hold spaces
 * and any letters; quotes and line breaks are refused because apt's configuration cannot express them.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { IngotError } from '../errors.ts';
import { run, type Argv, type RunResult } from '../proc/run.ts';
import { parseUnmet, parseUpdateFailure, type UnmetDependency, type UpdateFailure } from './apt-failures.ts';

/** A package archive as apt is told of it. */
export interface AptSource {
  /** Address of the archive's root. */
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** The public keys themselves, ASCII-armoured: a keyring path with a space in it cannot be written. */
  readonly keys: string;
  readonly checkValidUntil: boolean;
}

/** One `Packages` index that apt knows of. */
export interface IndexTarget {
  readonly uri: string;
  /** The suite as it was asked for. */
  readonly release: string;
  /** From the Release file; empty before it was fetched. */
  readonly label: string;
  readonly component: string;
  /** Where the index lies once fetched. */
  readonly file: string;
}

export interface SolvedVersion {
  readonly name: string;
  readonly version: string;
}

const NETWORK_TIMEOUT_SECONDS = 20;
const RETRIES = 3;
const SOURCES = 'sources.sources';
const CONFIGURATION = 'apt.conf';

/** Files of a private apt state, by name below its folder. */
export function renderAptState(
  folder: string,
  architecture: string,
  sources: readonly AptSource[],
  timeoutSeconds = NETWORK_TIMEOUT_SECONDS,
): ReadonlyMap<string, string> {
  return new Map([
    [CONFIGURATION, renderConfiguration(folder, architecture, timeoutSeconds)],
    [SOURCES, sources.map(renderSource).join('\n')],
    ['status', ''],
  ]);
}

function renderConfiguration(folder: string, architecture: string, timeoutSeconds: number): string {
  const at = (...names: string[]): string => quoted(join(folder, ...names));
  return `${[
    `Dir ${at()}`,
    `Dir::State ${at()}`,
    `Dir::State::lists ${at('lists')}`,
    `Dir::State::status ${at('status')}`,
    `Dir::Cache ${at('cache')}`,
    `Dir::Etc::sourcelist ${at(SOURCES)}`,
    ...['main', 'parts', 'sourceparts', 'preferences', 'preferencesparts', 'trusted', 'trustedparts'].map(
      (entry) => `Dir::Etc::${entry} "/dev/null"`,
    ),
    `APT::Architecture ${quoted(architecture)}`,
    `APT::Architectures { ${quoted(architecture)}; }`,
    'APT::Install-Recommends "false"',
    'APT::Sandbox::User "root"',
    'Acquire::Languages "none"',
    // Indexes are read by us as well: plain text, and only those that are used.
    'Acquire::GzipIndexes "false"',
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false"',
    `Acquire::Retries "${RETRIES}"`,
    `Acquire::http::Timeout "${timeoutSeconds}"`,
    `Acquire::https::Timeout "${timeoutSeconds}"`,
    // The store's own lock guards this state.
    'Debug::NoLocking "true"',
  ].join(';\n')};\n`;
}

function quoted(text: string): string {
  if (/["\n]/.test(text)) {
    throw new IngotError('ENVIRONMENT', `apt cannot use the path ${JSON.stringify(text)}`, {
      hint: 'keep the store in a folder without quotes or line breaks in its path',
    });
  }
  return `"${text}"`;
}

function renderSource(source: AptSource): string {
  return `${[
    'Types: deb',
    `URIs: ${source.uri.replaceAll(' ', '%20')}`,
    `Suites: ${source.suites.join(' ')}`,
    // A repository without suites has no components either (sources.list(5)).
    ...(source.components.length === 0 ? [] : [`Components: ${source.components.join(' ')}`]),
    ...(source.checkValidUntil ? [] : ['Check-Valid-Until: no']),
    'Signed-By:',
    ...source.keys
      .trimEnd()
      .split('\n')
      .map((line) => (line.trim() === '' ? ' .' : ` ${line}`)),
  ].join('\n')}\n`;
}

/** ASCII armour (RFC 9580 §6.2) around a binary keyring; text that is armoured already is kept. */
export function armourKeyring(keyring: Uint8Array): string {
  const text = Buffer.from(keyring).toString('latin1');
  if (text.trimStart().startsWith('-----BEGIN PGP')) return text;
  const lines =
    Buffer.from(keyring)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return [
    '-----BEGIN PGP PUBLIC KEY BLOCK-----',
    '',
    ...lines,
    '-----END PGP PUBLIC KEY BLOCK-----',
    '',
  ].join('\n');
}

/** Preferences (apt_preferences(5)) that hold packages at a version, even an older one. */
export function renderPins(pins: readonly SolvedVersion[]): string {
  return pins
    .map(({ name, version }) => `Package: ${name}\nPin: version ${version}\nPin-Priority: 1001\n`)
    .join('\n');
}

/** Preferences that keep everything of these suites out, but for what is pinned or asked for with its version. */
export function renderBarred(suites: readonly string[]): string {
  // By code name or by name: Release files of Debian's archives have both.
  return suites
    .flatMap((suite) => [`n=${suite}`, `a=${suite}`])
    .map((release) => `Package: *\nPin: release ${release}\nPin-Priority: -1\n`)
    .join('\n');
}

interface AptOptions {
  readonly signal?: AbortSignal | undefined;
  readonly proxies?: Readonly<Record<string, string>> | undefined;
}

async function apt(
  folder: string,
  argv: Argv,
  options: AptOptions & { timeoutMs?: number },
): Promise<RunResult> {
  // apt leaves its temporary files behind when it is ended or refuses an index.
  const scratch = await mkdtemp(join(tmpdir(), 'ingot-apt-'));
  try {
    return await withoutOutput(
      run(argv, {
        env: { ...options.proxies, APT_CONFIG: join(folder, CONFIGURATION), TMPDIR: scratch },
        okExitCodes: [0, 100],
        timeoutMs: options.timeoutMs ?? 120_000,
        signal: options.signal,
      }),
    );
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** An error of ours shows a program's last lines; apt's name the mirror. */
export async function withoutOutput<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof IngotError)) throw error;
    throw new IngotError(error.code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  }
}

export function updateArgv(): Argv {
  // Its cache of packages is made when a solution is asked for, which may be recorded.
  return ['apt-get', 'update', '--error-on=any', '-q', '-o', 'pkgCacheFile::Generate=false'];
}

/** Fetches what has changed of the indexes. Undefined when all is well, else why not. */
export async function updateAptState(
  folder: string,
  options: AptOptions,
): Promise<UpdateFailure | undefined> {
  const result = await apt(folder, updateArgv(), { ...options, timeoutMs: 900_000 });
  return result.exitCode === 0 ? undefined : parseUpdateFailure(`${result.stdout}\n${result.stderr}`);
}

const TARGET_FORMAT = ['$(REPO_URI)', '$(RELEASE)', '$(LABEL)', '$(COMPONENT)', '$(FILENAME)'].join('\t');

export function indexTargetsArgv(): Argv {
  return ['apt-get', 'indextargets', '--format', TARGET_FORMAT, 'Created-By: Packages'];
}

export function parseIndexTargets(output: string): IndexTarget[] {
  return output.split('\n').flatMap((line) => {
    const [uri, release, label, component, file] = line.split('\t');
    if (uri === undefined || file === undefined || uri === '') return [];
    return [{ uri, release: release ?? '', label: label ?? '', component: component ?? '', file }];
  });
}

/** Package indexes of a private state. */
export async function aptIndexTargets(folder: string, options: AptOptions): Promise<IndexTarget[]> {
  return parseIndexTargets((await apt(folder, indexTargetsArgv(), options)).stdout);
}

/** Files that a solution depends on besides the indexes. */
export interface SolveFiles {
  /** Pins. */
  readonly preferences?: string | undefined;
  /** dpkg's status of the root; without it the root is empty. */
  readonly status?: string | undefined;
}

export type AptSolution =
  | { readonly packages: readonly SolvedVersion[] }
  | { readonly unmet: readonly UnmetDependency[]; readonly messages: readonly string[] };

/**
 * What apt would install into a root, which is empty without a status.
 *
 * By the list of what it would download, since `--simulate` plays the installation through besides, which takes three
 * times as long as the solution itself. Nothing of an empty root is downloaded already: the list is whole.
 *
 * @throws IngotError TOOL_FAILED when the list is not
 */
export async function solveInstall(
  folder: string,
  wanted: readonly string[],
  files: SolveFiles,
  options: AptOptions,
): Promise<AptSolution> {
  const result = await apt(folder, solveArgv(wanted, files), options);
  if (result.exitCode === 0) return { packages: parseDownloads(result.stdout) };
  return {
    unmet: parseUnmet(result.stdout),
    messages: [...result.stderr.matchAll(/^E: (.*)$/gm)].map((match) => match[1] ?? ''),
  };
}

export function solveArgv(wanted: readonly string[], { preferences, status }: SolveFiles = {}): Argv {
  return [
    'apt-get',
    'install',
    '--print-uris',
    '--no-remove',
    '-q',
    ...(preferences === undefined ? [] : ['-o', `Dir::Etc::preferences=${preferences}`]),
    // What is there already stays as it is, unless something new needs it newer.
    ...(status === undefined ? [] : ['--no-upgrade', '-o', `Dir::State::status=${status}`]),
    '--',
    ...wanted,
  ];
}

/**
 * `'http://host/pool/f/foo_1.deb' foo_1%3a1_amd64.deb 14 MD5Sum:…`; the name says the version with its epoch.
 *
 * @throws IngotError TOOL_FAILED when it is not as many as apt counts itself
 */
export function parseDownloads(output: string): SolvedVersion[] {
  const packages = [...output.matchAll(/^'[^']*' ([^_\s]+)_([^_\s]+)_[^_\s]+\.\w+ \d+ /gm)].map(
    ([, name = '', version = '']) => ({
      name: decodeURIComponent(name),
      version: decodeURIComponent(version),
    }),
  );
  const [, upgraded, fresh] = /^(\d+) upgraded, (\d+) newly installed, 0 to remove/m.exec(output) ?? [];
  const count = Number(upgraded) + Number(fresh);
  if (count !== packages.length) {
    throw new IngotError('TOOL_FAILED', `apt would install ${count} packages and lists ${packages.length}`);
  }
  return packages;
}
