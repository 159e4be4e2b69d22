/** One solution of dnf for everything that is added to an image with rpm packages: exact versions, with hash and size. */
import { copyFile, link, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { FindingsError, IngotError, type Finding } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import { nearest } from '../../spec/suggest.ts';
import type { Store } from '../../store/store.ts';
import {
  dnfSolveArgv,
  parseDnfAnswer,
  type DnfAnswer,
  type DnfPackage,
  type DnfRequest,
} from '../../tools/dnf.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import { LockedPackage, type LockedArchive } from '../package.ts';
import type { PackageRequest } from '../solve.ts';
import { refuseKernels } from '../second-kernel.ts';
import type { Solution, SolvedPackage } from '../solution.ts';
import type { RepositoryMetadata } from './metadata.ts';
import { renderRepomd } from './repomd.ts';

export interface RpmSolveRequest {
  readonly wanted: readonly PackageRequest[];
  /** Versions to stay with where they still exist and fit. */
  readonly keep: readonly { readonly name: string; readonly version: string }[];
  /** Files of the package database that they are added to, by name, as blobs of the store. */
  readonly database: readonly { readonly name: string; readonly sha256: string }[];
  /** As rpm names it. */
  readonly architecture: string;
  readonly repositories: readonly RepositoryMetadata[];
  /** What it is solved for, for messages: `fedora-42`. */
  readonly suite: string;
}

export interface RpmSolveOptions {
  readonly tools: ToolsRoot;
  readonly store: Store;
  readonly signal?: AbortSignal | undefined;
}

const BASE = '/base';
const REPOSITORIES = '/repositories';

/**
 * @throws FindingsError PACKAGE_UNKNOWN with all unknown names at once; IngotError PACKAGES_CONFLICT, MIRROR_UNTRUSTED,
 *   SPEC_INVALID for a kernel
 */
export async function solveRpm(
  request: RpmSolveRequest,
  { tools, store, signal }: RpmSolveOptions,
): Promise<Solution> {
  await using scratch = await store.scratch('dnf');
  const base = join(scratch.path, 'base');
  const folders = join(scratch.path, 'repositories');
  await mkdir(join(base, 'var/lib/rpm'), { recursive: true });
  for (const { name, sha256 } of request.database) {
    await copyFile(store.blobPath(sha256), join(base, 'var/lib/rpm', name));
  }
  for (const metadata of request.repositories) await layOut(folders, metadata, store);
  await mkdir(folders, { recursive: true });
  const asked: DnfRequest = {
    root: BASE,
    architecture: request.architecture,
    repositories: request.repositories.map(({ repository: { id, priority, excludes } }) => ({
      id,
      folder: `${REPOSITORIES}/${id}`,
      priority,
      excludes,
    })),
    wanted: request.wanted.map(({ name, version }) => ({ name, ...(version !== undefined && { version }) })),
    keep: request.keep,
  };
  const binds = [
    { path: base, target: BASE },
    { path: folders, target: REPOSITORIES, readOnly: true },
  ];
  const argv = tools.argv(dnfSolveArgv(), binds);
  const { stdout } = await run(argv, { stdin: JSON.stringify(asked), signal, label: 'dnf' });
  const packages = requireSolved(parseDnfAnswer(stdout), request);
  const archives = new Set(packages.map(({ package: { archive } }) => archive));
  return {
    suite: request.suite,
    archives: request.repositories.filter(({ repository: { id } }) => archives.has(id)).map(describeArchive),
    packages,
  };
}

/** As dnf finds a repository: the index that was verified, and links to the blobs that it names. */
async function layOut(
  folders: string,
  { repository, files }: RepositoryMetadata,
  store: Store,
): Promise<void> {
  const repodata = join(folders, repository.id, 'repodata');
  await mkdir(repodata, { recursive: true });
  await writeFile(join(repodata, 'repomd.xml'), renderRepomd(files));
  for (const { sha256, location } of files)
    await link(store.blobPath(sha256), join(repodata, basename(location)));
}

function describeArchive({ repository, url }: RepositoryMetadata): LockedArchive {
  const { id, mirrorList, baseUrls, signsPackages, signsIndex, fingerprints } = repository;
  return {
    name: id,
    suites: [],
    components: [],
    ...(mirrorList === undefined || baseUrls.length > 0 ? { url } : { mirrorList }),
    ...((signsPackages || signsIndex) && { keys: [...fingerprints] }),
  };
}

function requireSolved(answer: DnfAnswer, { wanted, suite }: RpmSolveRequest): SolvedPackage[] {
  if ('packages' in answer) {
    refuseKernels(
      answer.packages.filter(({ kernel }) => kernel),
      wanted,
      suite,
    );
    return answer.packages.map(describe);
  }
  if ('problems' in answer) throw conflict(answer.problems, wanted, suite);
  const findings = answer.unknown.map(({ name, versions }): Finding => {
    const asking = wanted.find((request) => request.name === name && request.version !== undefined);
    const request = asking ?? wanted.find((one) => one.name === name);
    const what =
      versions.length > 0
        ? `the repositories of ${suite} have no version ${request?.version ?? ''} of ${name}`
        : `the repositories of ${suite} have no package ${name}`;
    return {
      code: 'PACKAGE_UNKNOWN',
      severity: 'error',
      message: `${what} (asked for by ${request?.by ?? 'packages'})`,
      ...(request?.location !== undefined && { location: request.location }),
      suggestions:
        versions.length > 0 ? versions.map((version) => `${name}=${version}`) : nearest(name, answer.names),
    };
  });
  throw new FindingsError(findings);
}

function conflict(problems: readonly string[], wanted: readonly PackageRequest[], suite: string): IngotError {
  const text = problems.join('\n');
  const involved = wanted.filter(({ name }) => text.includes(`${name}-`) || text.includes(` ${name} `));
  const askers = involved.map(({ name, by }) => `${name} (asked for by ${by})`).join(', ');
  const location = involved.find((request) => request.location !== undefined)?.location;
  return new IngotError(
    'PACKAGES_CONFLICT',
    [`the packages cannot be added together to ${suite}:`, ...problems.map((line) => `  ${line}`)].join('\n'),
    {
      hint: askers === '' ? 'remove or change one of the packages' : `change one of: ${askers}`,
      ...(location !== undefined && { location }),
    },
  );
}

/** @throws IngotError MIRROR_UNTRUSTED for what has no SHA-256, or a place outside of its repository */
function describe({
  depends,
  location,
  repository,
  source: _source,
  kernel: _kernel,
  ...rest
}: DnfPackage): SolvedPackage {
  const parsed = LockedPackage.safeParse({ ...rest, filename: location, archive: repository });
  if (parsed.success)
    return { package: parsed.data, essential: false, depends: depends.join(', '), provides: '' };
  const field = parsed.error.issues[0]?.path.join('.') ?? 'entry';
  throw new IngotError(
    'MIRROR_UNTRUSTED',
    `the repository ${repository} has no usable ${field} for ${rest.name}`,
    {
      hint: 'its index must have a SHA-256 and a place below the repository for each package',
    },
  );
}
