/**
 * Large packages unpacked side by side: dpkg gets a stand-in of each (stand-in.ts), and the files that were put aside
 * take the places of their marks afterwards.
 *
 * The tree is to the bit what dpkg makes of the packages themselves. So a package has a stand-in only where nothing can
 * see that its files are not there yet, which is when no script runs from then on; and a mark that is not where its
 * package says, because another package diverts or replaces the file, makes dpkg unpack everything itself.
 */
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  fstatSync,
  openSync,
  readSync,
  renameSync,
  utimesSync,
  type Stats,
} from 'node:fs';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { errnoOf, IngotError } from '../../errors.ts';
import type { LockedPackage } from '../../packages/package.ts';
import { run } from '../../proc/run.ts';
import type { Reporter } from '../../report/events.ts';
import type { Store } from '../../store/store.ts';
import { dpkgDebFsysTarArgv } from '../../tools/dpkg.ts';
import { mkfifoArgv } from '../../tools/mkfifo.ts';
import type { GrowingArchives, GrowingThread } from '../archive/growing-archives.ts';
import type { RootFs } from '../root-fs.ts';
import { runInSandbox, type SandboxOptions } from '../sandbox.ts';
import { packageInside } from './bootstrap.ts';
import type { StandInAnswer, StandInListening, StandInThreadData } from './stand-in-worker.ts';
import type { AsideFile, StandInJob } from './stand-in.ts';

/** Each has a decompressor that takes all cores as long as there is work for them. */
const SIDE_BY_SIDE = 3;

export interface StandInOptions {
  readonly store: Store;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
  /** Makes archives of them meanwhile. */
  readonly growing?: GrowingArchives | undefined;
}

/** A mark is not where the package has the file. */
export class DisplacedFile extends Error {
  constructor(path: string) {
    super(`${path} did not come to where its package has it`);
  }
}

export class StandIns implements AsyncDisposable {
  /** In the root that is unpacked to: what was put aside gets to its place by its name alone. */
  readonly #folder: string;
  readonly #files = new Map<string, readonly AsideFile[]>();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * @param packages that can have one (`choosePackages`)
   * @param fs the root that they are to be unpacked to, which `sandbox` runs programs in
   */
  static async make(
    packages: readonly LockedPackage[],
    fs: RootFs,
    sandbox: SandboxOptions,
    options: StandInOptions,
  ): Promise<StandIns> {
    await using cleanup = new AsyncDisposableStack();
    const made = cleanup.use(new StandIns(await mkdtemp(join(fs.root, '.ingot-aside-'))));
    await made.#fill(packages, sandbox, options);
    cleanup.move();
    return made;
  }

  /** Names of the packages that have one. */
  get packages(): readonly string[] {
    return [...this.#files.keys()];
  }

  /** What dpkg is to unpack for the package, as it sees it in the sandbox. */
  inside(file: LockedPackage): string {
    return this.#files.has(file.name) ? `/${basename(this.#folder)}/${standInName(file)}` : packageInside(file);
  }

  /**
   * Puts every file where dpkg has put its mark.
   *
   * @throws DisplacedFile
   */
  async settle(fs: RootFs): Promise<void> {
    const folders = new Map<string, string>();
    for (const aside of [...this.#files.values()].flat()) {
      const folder = dirname(aside.path);
      const real = folders.get(folder) ?? (await fs.resolve(folder, true));
      folders.set(folder, real);
      replaceMark(join(real, basename(aside.path)), aside);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #fill(
    packages: readonly LockedPackage[],
    sandbox: SandboxOptions,
    options: StandInOptions,
  ): Promise<void> {
    const { store, reporter, signal, growing } = options;
    const secret = `ingot ${randomUUID()}`;
    const jobs = packages.map((file, id) => {
      const folder = join(this.#folder, String(id));
      const job: StandInJob = {
        id,
        pipe: `${folder}.pipe`,
        deb: store.packagePath(file.sha256),
        standIn: join(this.#folder, standInName(file)),
        folder,
        secret: `${secret} ${id}`,
        archive: growing?.jobOf(file.name),
      };
      return { file, job };
    });
    await run(mkfifoArgv(jobs.map(({ job }) => job.pipe)), { signal });
    // The longest first: nothing is left to do beside one that comes last.
    jobs.sort((one, other) => other.file.size - one.file.size);
    const threads = Math.min(SIDE_BY_SIDE, availableParallelism(), jobs.length);
    const work = async (): Promise<void> => {
      const follower = packages.some(({ name }) => growing?.jobOf(name) !== undefined) ? growing?.hire() : undefined;
      await using thread = new StandInThread(follower);
      for (let next = jobs.shift(); next !== undefined; next = jobs.shift()) {
        const { file, job } = next;
        const answer = await makeOne(thread, file, job, sandbox, signal);
        if ('aside' in answer) {
          this.#files.set(file.name, answer.aside);
          if (follower !== undefined) growing?.note(file.name, follower);
          continue;
        }
        reporter.debug(`dpkg unpacks ${file.name} as it is: ${answer.unfit}`);
        await rm(job.standIn, { force: true });
        await rm(job.folder, { recursive: true, force: true });
      }
    };
    const results = await Promise.allSettled(Array.from({ length: threads }, work));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

function standInName(file: LockedPackage): string {
  return `${file.sha256}.deb`; // by which messages of dpkg are understood
}

/** Decompressed in the sandbox, by the root's own dpkg-deb. */
async function makeOne(
  thread: StandInThread,
  file: LockedPackage,
  job: StandInJob,
  sandbox: SandboxOptions,
  signal: AbortSignal | undefined,
): Promise<StandInAnswer> {
  await mkdir(job.folder);
  // With both ends, opening it waits for nobody.
  const both = await open(job.pipe, constants.O_RDWR);
  const { listening, answer } = thread.make(job);
  let end;
  try {
    await listening;
    end = await open(job.pipe, constants.O_WRONLY);
  } finally {
    await both.close();
  }
  let failure: Error | undefined;
  try {
    const argv = dpkgDebFsysTarArgv(packageInside(file));
    await runInSandbox(argv, sandbox, { signal, stdoutTo: end.fd, label: 'dpkg-deb' });
  } catch (error) {
    failure = error as Error;
  } finally {
    await end.close(); // the thread reads on until nobody can write
  }
  const made = await answer;
  if (failure === undefined || 'unfit' in made) return made;
  if (failure instanceof IngotError && failure.code === 'TOOL_FAILED') {
    return { id: job.id, unfit: failure.message };
  }
  throw failure;
}

/** One thread of stand-in-worker.ts, for one job at a time. */
class StandInThread implements AsyncDisposable {
  readonly #worker: Worker;

  constructor(follower: GrowingThread | undefined) {
    this.#worker = new Worker(new URL(`./stand-in-worker${extname(import.meta.filename)}`, import.meta.url), {
      env: {},
      execArgv: [],
      workerData: { follower: follower?.port } satisfies StandInThreadData,
      transferList: follower === undefined ? [] : [follower.port],
      // Those that the follower has not read yet outlive this thread.
      trackUnmanagedFds: false,
    });
  }

  /** `listening` settles when the thread has its end of the pipe, or will never have it. */
  make(job: StandInJob): { readonly listening: Promise<void>; readonly answer: Promise<StandInAnswer> } {
    const listening = Promise.withResolvers<undefined>();
    const answer = Promise.withResolvers<StandInAnswer>();
    answer.promise.catch(() => undefined); // awaited later than `listening`
    const onError = (error: unknown): void => {
      listening.reject(error);
      answer.reject(error);
    };
    const onMessage = (message: StandInAnswer | StandInListening): void => {
      listening.resolve(undefined);
      if ('listening' in message) return;
      this.#worker.off('message', onMessage).off('error', onError);
      answer.resolve(message);
    };
    this.#worker.on('message', onMessage).on('error', onError);
    this.#worker.postMessage(job);
    return { listening: listening.promise, answer: answer.promise };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}

/** @throws DisplacedFile */
function replaceMark(place: string, { path, file, mark }: AsideFile): void {
  const stats = statMark(place, mark);
  if (stats === undefined) throw new DisplacedFile(path);
  const { uid, gid, mode, nlink } = stats;
  const settle = (target: string): void => {
    chownSync(target, uid, gid);
    chmodSync(target, mode & 0o7777);
    utimesSync(target, stats.atimeMs / 1000, stats.mtimeMs / 1000);
  };
  if (nlink === 1) {
    settle(file);
    renameSync(file, place);
  } else {
    copyFileSync(file, place); // its other names are names of the mark
    settle(place);
  }
}

/** What stands at `place`, if it is the mark. */
function statMark(place: string, mark: string): Stats | undefined {
  let file: number;
  try {
    file = openSync(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() || stats.size !== mark.length) return undefined;
    const bytes = Buffer.alloc(mark.length);
    readSync(file, bytes);
    return bytes.toString('latin1') === mark ? stats : undefined;
  } finally {
    closeSync(file);
  }
}
