/**
 * The gate: the checks that a boot must pass to count as good. They come from the image (`health.json`), from scripts in
 * the folders that greenboot has, and, on a machine with NVIDIA's GPUs and an image with their driver, from here.
 */
import { constants } from 'node:fs';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import { errnoOf, IngotError } from '../../errors.ts';
import { type Argv, run } from '../../proc/run.ts';
import { HEALTH_FILE, parseHealthFile } from '../../ostree/health-file.ts';
import type { HostGpu } from '../host-gpus.ts';
import { gpuKernelArgv } from './gpu-kernel.ts';
import {
  judgeAnswers,
  judgeDriver,
  judgeFabric,
  judgeXids,
  libraryVersion,
  parseModuleVersion,
  parseSmiGpus,
  parseXids,
  SMI_FIELDS,
  type Verdict,
} from './nvidia.ts';

/** Later folders come after earlier ones; greenboot(8). */
const CHECK_FOLDERS = ['/usr/lib/greenboot/check', '/etc/greenboot/check'] as const;
/** greenboot has no limit; a boot that waits for ever is never good. */
const SCRIPT_SECONDS = 300;
const GPU_SECONDS = 60;
const OUTPUT_LIMIT = 4096;
const ANY_EXIT = Array.from({ length: 256 }, (_, code) => code);
const NVIDIA = '10de:';
const RETRY_MS = 2000;

export interface GateCheck {
  readonly name: string;
  readonly source: 'image' | 'script' | 'gpu';
  /** Its failure makes the boot one that is not good. */
  readonly isRequired: boolean;
  readonly timeoutSeconds: number;
  readonly run: (timeoutMs: number) => Promise<GateAnswer>;
}

interface GateAnswer {
  readonly isGood: boolean;
  readonly exitCode?: number | undefined;
  readonly isTimedOut?: boolean;
  readonly output: string;
}

export interface GateRecord {
  readonly name: string;
  readonly source: GateCheck['source'];
  readonly required: boolean;
  readonly healthy: boolean;
  readonly seconds: number;
  readonly timedOut: boolean;
  readonly exitCode?: number;
  /** The last of what it said. */
  readonly output: string;
}

export interface GateVerdict {
  /** Every required check passed. */
  readonly healthy: boolean;
  readonly checks: readonly GateRecord[];
}

export interface GateOptions {
  readonly gpus: readonly HostGpu[];
  readonly signal?: AbortSignal | undefined;
  /**
   * Right after a start, when services may still be on their way up: a check of the image's that fails is repeated as
   * long as its time allows.
   */
  readonly isStarting?: boolean | undefined;
  /** What every limit is multiplied with: an emulated processor is slower than what limits are made for. */
  readonly slowness?: number | undefined;
  /** In the place of `/`, for tests. */
  readonly root?: string;
  readonly onCheck?: (done: number, total: number, name: string) => void;
}

/** Runs every check, one after the other, whatever the others say. @throws IngotError INTERRUPTED, HEALTH_FAILED */
export async function runGate(options: GateOptions): Promise<GateVerdict> {
  const checks = await collectChecks(options);
  const records: GateRecord[] = [];
  for (const { name, source, isRequired, timeoutSeconds, ...check } of checks) {
    options.onCheck?.(records.length, checks.length, name);
    const started = performance.now();
    const limit = timeoutSeconds * 1000 * (options.slowness ?? 1);
    const mayRepeat = options.isStarting === true && source === 'image';
    const answer = await (mayRepeat ? repeat(check.run, limit, options.signal) : check.run(limit));
    const { isGood, exitCode, isTimedOut = false, output } = answer;
    records.push({
      name,
      source,
      required: isRequired,
      healthy: isGood,
      seconds: Math.round((performance.now() - started) / 100) / 10,
      timedOut: isTimedOut,
      ...(exitCode !== undefined && { exitCode }),
      output: output.length > OUTPUT_LIMIT ? output.slice(-OUTPUT_LIMIT) : output,
    });
  }
  return { healthy: records.every(({ healthy, required }) => healthy || !required), checks: records };
}

/** Until it passes or its time is up; the last answer counts. One that passes late, but in time, is good. */
async function repeat(
  work: GateCheck['run'],
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<GateAnswer> {
  const end = performance.now() + limitMs;
  for (let first: GateAnswer | undefined; ;) {
    const left = end - performance.now();
    // A try that could not even be begun says nothing.
    if (first !== undefined && left < 1000) return first;
    const answer = await work(Math.max(left, 1));
    if (answer.isGood) return answer;
    // What was cut short because all of the time is over says less than what failed before.
    first = answer.isTimedOut === true ? (first ?? answer) : answer;
    const pause = Math.min(RETRY_MS, end - performance.now());
    if (pause > 0) await setTimeout(pause, undefined, { signal }).catch(onlyAborted);
    if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while checks ran');
  }
}

function onlyAborted(error: unknown): void {
  if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
}

/** @throws IngotError HEALTH_FAILED when the image's file is not what it should be */
export async function collectChecks(options: GateOptions): Promise<readonly GateCheck[]> {
  return [
    ...(await gpuChecks(options)),
    ...(await imageChecks(options)),
    ...(await scriptChecks('required.d', options)),
    ...(await scriptChecks('wanted.d', options)),
  ];
}

async function imageChecks({ root = '/', signal }: GateOptions): Promise<GateCheck[]> {
  const text = await readIfThere(join(root, HEALTH_FILE));
  return parseHealthFile(text ?? '[]').map(({ name, run: script, timeoutSeconds }) => ({
    name,
    source: 'image',
    isRequired: true,
    timeoutSeconds,
    run: (timeoutMs) => ask(['/bin/sh', '-c', script], timeoutMs, signal),
  }));
}

/** As greenboot: files that can be run, in the order of their names. A name in /etc takes the place of one in /usr. */
async function scriptChecks(kind: 'required.d' | 'wanted.d', options: GateOptions): Promise<GateCheck[]> {
  const { root = '/', signal } = options;
  const scripts = new Map<string, string>();
  for (const folder of CHECK_FOLDERS) {
    const path = join(root, folder, kind);
    for (const name of await readdir(path).catch(() => [])) {
      const script = join(path, name);
      if (await canRun(script)) scripts.set(name, script);
    }
  }
  return [...scripts]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, script]) => ({
      name,
      source: 'script',
      isRequired: kind === 'required.d',
      timeoutSeconds: SCRIPT_SECONDS,
      run: (timeoutMs) => ask([script], timeoutMs, signal),
    }));
}

/** None without such GPUs, and none in an image that does not bring their driver. */
async function gpuChecks({ gpus, root = '/', signal }: GateOptions): Promise<GateCheck[]> {
  const onBus = gpus.filter(({ pci }) => pci.startsWith(NVIDIA)).map(({ address }) => address);
  const smi = join(root, 'usr/bin/nvidia-smi');
  if (onBus.length === 0 || !(await canRun(smi))) return [];
  const query = async (timeoutMs: number, judge: (text: string) => Verdict): Promise<GateAnswer> => {
    const argv = [smi, `--query-gpu=${SMI_FIELDS.join(',')}`, '--format=csv,noheader'] as const;
    const answer = await ask(argv, timeoutMs, signal);
    return answer.isGood ? answerOf(judge(answer.output)) : answer;
  };
  const check = (name: string, work: GateCheck['run']): GateCheck => ({
    name,
    source: 'gpu',
    isRequired: true,
    timeoutSeconds: GPU_SECONDS,
    run: work,
  });
  const python = join(root, 'usr/bin/python3');
  const canRunKernel = (await canRun(python)) && (await libraryNames(root)).includes('libcuda.so.1');
  return [
    check('gpu-driver', async () => {
      const version = await readIfThere(join(root, 'proc/driver/nvidia/version'));
      const module = version === undefined ? undefined : parseModuleVersion(version);
      return answerOf(judgeDriver(module, libraryVersion(await libraryNames(root))));
    }),
    check('gpu-answers', (timeoutMs) => query(timeoutMs, (text) => judgeAnswers(onBus, parseSmiGpus(text)))),
    check('gpu-fabric', (timeoutMs) => query(timeoutMs, (text) => judgeFabric(parseSmiGpus(text)))),
    ...(canRunKernel
      ? [check('gpu-kernel', (timeoutMs) => ask(gpuKernelArgv(python), timeoutMs, signal))]
      : []),
    check('gpu-log', async (timeoutMs) => {
      const argv = ['journalctl', '--dmesg', '--boot', '--output=cat', '--no-pager'] as const;
      const log = await ask(argv, timeoutMs, signal);
      return log.isGood ? answerOf(judgeXids(parseXids(log.output))) : log;
    }),
  ];
}

async function libraryNames(root: string): Promise<readonly string[]> {
  const folders = ['usr/lib/x86_64-linux-gnu', 'usr/lib/aarch64-linux-gnu', 'usr/lib64'];
  const names = await Promise.all(
    ['', 'nvidia/current'].flatMap((below) =>
      folders.map((folder) => readdir(join(root, folder, below)).catch(() => [])),
    ),
  );
  return [...new Set(names.flat())];
}

function answerOf({ isGood, found }: Verdict): GateAnswer {
  return { isGood, output: found };
}

async function ask(argv: Argv, timeoutMs: number, signal: AbortSignal | undefined): Promise<GateAnswer> {
  try {
    const { exitCode, stdout, stderr } = await run(argv, { timeoutMs, signal, okExitCodes: ANY_EXIT });
    return { isGood: exitCode === 0, exitCode, output: [stdout, stderr].filter(Boolean).join('\n') };
  } catch (error) {
    if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
    const output = [error.output, error.message].filter(Boolean).join('\n');
    return { isGood: false, isTimedOut: error.code === 'TIMEOUT', output };
  }
}

async function canRun(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
