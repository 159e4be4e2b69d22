/**
 * What an update by itself must wait for: jobs on a GPU, locks that programs took from systemd, and files that people
 * laid down. What cannot be found out holds it up too, and says so.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { run } from '../proc/run.ts';
import { isWithoutLogind, listInhibitorsArgv, parseInhibitors } from '../tools/busctl.ts';

export interface Inhibitor {
  readonly kind: 'gpu' | 'lock' | 'file' | 'clock' | 'trial';
  /** The program, or the file. */
  readonly who: string;
  readonly why: string;
}

export interface InhibitorOptions {
  readonly signal?: AbortSignal | undefined;
  /** In the place of `/`, for tests; logind is asked all the same. */
  readonly root?: string;
}

const INHIBIT_FILE = 'etc/ingot/inhibit';
const INHIBIT_FOLDER = 'run/ingot/inhibit.d';
const ASK_MS = 20_000;
const MAX_WHY = 200;

/** Everything that holds a restart up, at once. */
export async function findInhibitors(options: InhibitorOptions = {}): Promise<readonly Inhibitor[]> {
  const { root = '/' } = options;
  const found = await Promise.all([gpuJobs(root), locks(options), files(root)]);
  return found.flat();
}

/** Devices of NVIDIA's GPUs, of AMD's for computing, and those that render. The one for control is no job. */
const GPU_DEVICE = /^\/dev\/(?:nvidia(?:\d+|-uvm|-caps\/.+)|kfd|dri\/renderD\d+)$/;

/**
 * Processes that hold a GPU's device, one for each unit that they are of. A service of the system's own is none of them:
 * systemd stops it in order, and starts it in the new system. What a person, a container engine or a scheduler started
 * would be lost.
 */
async function gpuJobs(root: string): Promise<readonly Inhibitor[]> {
  const found = new Map<string, Inhibitor>();
  for (const pid of (await readdir(join(root, 'proc'))).filter((name) => /^\d+$/.test(name))) {
    const process = join(root, 'proc', pid);
    const device = await heldGpu(join(process, 'fd'));
    if (device === undefined) continue;
    const unit = parseUnit(await textIn(join(process, 'cgroup')));
    if (unit?.endsWith('.service') === true) continue;
    const name = (await textIn(join(process, 'comm'))).trim() || 'a process';
    if (!found.has(unit ?? pid)) {
      const where = unit === undefined ? '' : ` in ${unit}`;
      found.set(unit ?? pid, { kind: 'gpu', who: `${name} (${pid})`, why: `it uses ${device}${where}` });
    }
  }
  return [...found.values()];
}

async function heldGpu(folder: string): Promise<string | undefined> {
  // A process may end while it is looked at, and so may what it has open.
  for (const fd of await readdir(folder).catch(() => [])) {
    const target = await readlink(join(folder, fd)).catch(() => '');
    if (GPU_DEVICE.test(target)) return target;
  }
  return undefined;
}

/**
 * The unit that ends with the process, from the line `0::/system.slice/llama-server.service` of `/proc/PID/cgroup`: the
 * first that is no slice. Services of a user's own systemd are below `user@1000.service`, and end with the person.
 */
export function parseUnit(cgroup: string): string | undefined {
  const path = /^0::(\/.*)$/m.exec(cgroup)?.[1]?.split('/') ?? [];
  const unit = path.find((part) => /\.(?:service|scope)$/.test(part));
  return unit?.startsWith('user@') === true
    ? (path.findLast((part) => part.endsWith('.scope')) ?? 'a session')
    : unit;
}

async function locks({ signal }: InhibitorOptions): Promise<readonly Inhibitor[]> {
  const unknown = (why: string): Inhibitor => ({ kind: 'lock', who: 'systemd-logind', why });
  try {
    const { exitCode, stdout, stderr } = await run(listInhibitorsArgv, {
      ...{ signal, timeoutMs: ASK_MS, okExitCodes: [0, 1] },
    });
    if (exitCode !== 0) {
      return isWithoutLogind(stderr) ? [] : [unknown(`it cannot be asked for locks: ${firstLine(stderr)}`)];
    }
    const all = parseInhibitors(stdout);
    if (all === undefined) return [unknown('its answer about locks is not understood')];
    return all
      .filter(({ what, mode }) => what.includes('shutdown') && mode.startsWith('block'))
      .map(({ who, why }) => ({ kind: 'lock', who, why: firstLine(why) }));
  } catch (error) {
    if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
    // Without busctl there is no bus, and nobody to hold a lock.
    return error.code === 'TOOL_MISSING' ? [] : [unknown(`it cannot be asked for locks: ${error.message}`)];
  }
}

async function files(root: string): Promise<readonly Inhibitor[]> {
  const names = await readdir(join(root, INHIBIT_FOLDER)).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  });
  const paths = [INHIBIT_FILE, ...names.sort().map((name) => `${INHIBIT_FOLDER}/${name}`)];
  const found = await Promise.all(
    paths.map(async (path): Promise<readonly Inhibitor[]> => {
      const text = await readFile(join(root, path), 'utf8').catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return undefined;
        // It is there, whatever is in it: somebody wants to be waited for.
        return '';
      });
      if (text === undefined) return [];
      return [{ kind: 'file', who: `/${path}`, why: firstLine(text) || 'it gives no reason' }];
    }),
  );
  return found.flat();
}

async function textIn(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '');
}

function firstLine(text: string): string {
  return (text.trim().split('\n')[0] ?? '').slice(0, MAX_WHY);
}

/** In a sentence. */
export function renderInhibitors(inhibitors: readonly Inhibitor[]): string {
  return inhibitors.map(({ who, why }) => `${who}: ${why}`).join('; ');
}
