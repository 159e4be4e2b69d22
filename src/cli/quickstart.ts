/**
 * From a declaration to a booted node in one go. What has not changed since the last time is not done again, the
 * boot included: an image that was seen healthy is the same bits.
 */
import { copyFile, mkdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import * as z from 'zod';

import { ensureToolsRoot } from '../build/tools-tree.ts';
import { testBoot, type BootTest } from '../disk/boot-test.ts';
import { installableImage } from '../ostree/import-image.ts';
import { ensureTestDisk } from '../disk/test-disk.ts';
import { IngotError } from '../errors.ts';
import { resolveImage } from '../oci/layout.ts';
import { loadMirrors, type Mirrors } from '../packages/mirror.ts';
import { requireWritableFolder } from '../proc/writable-place.ts';
import { createReporter, type ReportEvent } from '../report/events.ts';
import { buildDeclaration, type BuildOutcome } from './commands/build.ts';
import { runLock } from './commands/lock.ts';
import type { CommandContext } from './context.ts';
import { lockPathOf } from './load-lock.ts';
import { useStore } from './use-store.ts';

export interface QuickstartOptions {
  /** Folder for what is made, relative to the working directory. */
  readonly output: string;
  /** Boots also an image that was seen healthy before. */
  readonly again: boolean;
}

export interface StageTime {
  readonly title: string;
  readonly seconds: number;
  readonly outcome: 'done' | 'cached' | 'failed';
}

export interface QuickstartOutcome {
  readonly built: BuildOutcome;
  /** The lock that was built: the declaration's own, or one beside the output. */
  readonly lock: string;
  readonly disk: string;
  readonly boot: BootTest;
  /** When the boot was, if not now. */
  readonly bootedEarlier?: string;
  readonly stages: readonly StageTime[];
}

/** A lock with one of these can't be built from; a new one can. */
const NEEDS_NEW_LOCK = new Set(['LOCK_MISSING', 'LOCK_STALE', 'LOCK_INVALID', 'PACKAGE_GONE']);

/** @throws IngotError as locking, building, installing and booting do */
export async function quickstart(
  original: CommandContext,
  file: string,
  options: QuickstartOptions,
): Promise<QuickstartOutcome> {
  const stages: StageTime[] = [];
  const context = { ...original, reporter: createReporter([original.reporter.emit, collectInto(stages)]) };
  const output = resolve(context.cwd, options.output);
  await requireWritableFolder(output);
  await mkdir(output, { recursive: true });
  const { built, lock } = await buildWithSomeLock(context, file, output);

  const { signal, reporter } = context;
  await using inUse = await useStore(context);
  const { store } = inUse;
  const image = installableImage(await resolveImage({ directory: built.layout, name: built.plan.version }));
  const mirrors = (): Promise<Mirrors> => loadMirrors(context.env, signal);
  const toolsRoot = await ensureToolsRoot({ lock: built.lock, store, mirrors, reporter, signal });
  const disk = await ensureTestDisk({ image, store, toolsRoot, reporter, signal });

  const key = basename(disk, '.raw');
  const seen = options.again ? undefined : BootRecord.safeParse(await store.readRecord('boots', key)).data;
  if (seen !== undefined) {
    await reporter.stage('Boot', (stage) => {
      stage.cached(`seen healthy at ${seen.at}`);
      return Promise.resolve();
    });
    return { built, lock, disk, boot: seen.boot as unknown as BootTest, bootedEarlier: seen.at, stages };
  }
  await using scratch = await store.scratch('boot-test');
  const boot = await testBoot({
    disk,
    toolsRoot,
    workFolder: scratch.path,
    consoleFile: join(output, 'console.log'),
    timeoutMs: 600_000,
    reporter,
    signal,
  });
  if (boot.healthy) await store.writeRecord('boots', key, { at: context.now().toISOString(), boot });
  return { built, lock, disk, boot, stages };
}

/** Written by us a moment ago or long ago; the boot itself is only shown. */
const BootRecord = z.object({ at: z.string(), boot: z.looseObject({ healthy: z.literal(true) }) });

function collectInto(stages: StageTime[]): (event: ReportEvent) => void {
  return (event) => {
    if (event.type !== 'stage-end') return;
    const { title, seconds, outcome } = event;
    stages.push({ title, seconds, outcome });
  };
}

/**
 * Builds from the declaration's lock. Where that can no longer be met, because the mirror has moved on, says what
 * moved and goes on with a lock of its own, beside the output; the declaration's is left alone.
 */
export async function buildWithSomeLock(
  context: CommandContext,
  file: string,
  output: string,
): Promise<{ built: BuildOutcome; lock: string }> {
  const name = basename(file).replace(/\.ya?ml$/, '');
  const own = lockPathOf(file);
  const fresh = join(output, `${name}.lock.yaml`);
  const build = (lock: string): Promise<BuildOutcome> =>
    buildDeclaration(context, file, { lock, output: join(output, name) });
  const candidates = (await isNewer(resolve(context.cwd, fresh), resolve(context.cwd, own)))
    ? [fresh]
    : [own];
  for (const lock of candidates) {
    try {
      return { built: await build(lock), lock };
    } catch (error) {
      if (!(error instanceof IngotError) || !NEEDS_NEW_LOCK.has(error.code)) throw error;
      context.reporter.warning(`${lock} cannot be built any more: ${error.message}`);
    }
  }
  context.reporter.info(`locking afresh, into ${fresh}`);
  // From the declaration's lock, so that only what has to move does.
  await copyFile(resolve(context.cwd, own), fresh).catch(() => undefined);
  const { text } = await runLock(context, [file], { output: fresh });
  for (const line of text.trimEnd().split('\n')) context.reporter.info(line);
  return { built: await build(fresh), lock: fresh };
}

async function isNewer(left: string, right: string): Promise<boolean> {
  const [one, other] = await Promise.all([left, right].map((path) => stat(path).catch(() => undefined)));
  return one !== undefined && (other === undefined || one.mtimeMs > other.mtimeMs);
}
