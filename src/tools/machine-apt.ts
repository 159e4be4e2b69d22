/**
 * What the machine's own apt is told: where its packages come from, and through which proxies. Its state is read, never
 * changed, and its cache of packages is neither used nor made.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { run, type Argv } from '../proc/run.ts';
import { together } from '../proc/together.ts';
import { indexTargetsArgv, parseIndexTargets, withoutOutput, type IndexTarget } from './apt.ts';

/** Package indexes of the machine itself. None where there is no apt. */
export async function machineIndexTargets(signal?: AbortSignal): Promise<IndexTarget[]> {
  const [output, lists] = await together(listTargets(signal), listsFolder(signal));
  return Promise.all(
    parseIndexTargets(output ?? '').map(async (target) => {
      const file = join(lists, basename(target.file));
      return { ...target, file, label: await labelOf({ ...target, file }) };
    }),
  );
}

/**
 * To tell what a Release file says, apt makes its cache of all packages first: half a second where it is not allowed
 * to keep that, as in Debian's container images. So apt sees an empty state here, and we read the file.
 */
async function listTargets(signal?: AbortSignal): Promise<string | undefined> {
  const empty = await mkdtemp(join(tmpdir(), 'ingot-apt-'));
  try {
    const [program, ...rest] = indexTargetsArgv();
    const state = ['-o', `Dir::State::lists=${empty}/`, '-o', 'Dir::State::status=/dev/null'];
    return await tolerant([program, ...state, '--no-release-info', ...rest], signal);
  } finally {
    await rm(empty, { recursive: true, force: true });
  }
}

async function listsFolder(signal?: AbortSignal): Promise<string> {
  const output = await tolerant(['apt-config', 'shell', 'lists', 'Dir::State::lists/d'], signal);
  return /^lists='(.*)'$/m.exec(output ?? '')?.[1] ?? '/var/lib/apt/lists/';
}

/** From the downloaded Release file, which lies beside the index; empty where there is none yet. */
async function labelOf({ file, component }: IndexTarget): Promise<string> {
  const archive = file.slice(0, Math.max(file.lastIndexOf(`_${component}_binary-`), 0));
  for (const name of ['InRelease', 'Release']) {
    const release = await readIfThere(`${archive}_${name}`);
    if (release !== undefined) return /^Label: *(.*?) *$/m.exec(release)?.[1] ?? '';
  }
  return '';
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'latin1');
  } catch (error) {
    if (['ENOENT', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** Proxies that the machine's apt is told to use, as `http_proxy` and `https_proxy`. */
export async function machineProxies(signal?: AbortSignal): Promise<Record<string, string>> {
  const result = await tolerant(
    ['apt-config', 'dump', 'Acquire::http::Proxy', 'Acquire::https::Proxy'],
    signal,
  );
  return result === undefined ? {} : parseProxies(result);
}

export function parseProxies(dump: string): Record<string, string> {
  return Object.fromEntries(
    [...dump.matchAll(/^Acquire::(https?)::Proxy "([^"]+)";$/gim)].flatMap(([, scheme, address]) =>
      scheme === undefined || address === undefined || address === 'DIRECT'
        ? []
        : [[`${scheme.toLowerCase()}_proxy`, address]],
    ),
  );
}

async function tolerant(argv: Argv, signal?: AbortSignal): Promise<string | undefined> {
  try {
    return (await withoutOutput(run(argv, { signal, timeoutMs: 60_000 }))).stdout;
  } catch (error) {
    if (error instanceof IngotError && ['TOOL_MISSING', 'TOOL_FAILED'].includes(error.code)) return undefined;
    throw error;
  }
}
