/** Hashes files and trees on all cores. Node hashes on the thread that asks, and needs one for each core. */
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';

import { digestOfJson, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { run } from '../proc/run.ts';
import { getfattrArgv, parseGetfattr } from '../tools/getfattr.ts';

export type HashJob =
  | { readonly id: number; readonly kind: 'file' | 'tree'; readonly path: string }
  /** A file that grows, told about until its end, which is when its digest is wanted. */
  | { readonly id: number; readonly kind: 'follow'; readonly path: string }
  | { readonly id: number; readonly kind: 'grown'; readonly bytes: number }
  | { readonly id: number; readonly kind: 'end' };

/** What a thread is told at its start. */
export interface HashThread {
  readonly yields: boolean;
}

/** A step of the way, or the end. */
export type HashAnswer =
  | { readonly id: number; readonly bytes: number }
  | { readonly id: number; readonly hex: string }
  /** The system's error, such as ENOENT or EIO. */
  | { readonly id: number; readonly fault: string };

export type HashResult = { readonly hex: string } | { readonly fault: string };

export interface HashOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told the bytes hashed since it was last told. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  /** Others go before: nobody waits for this yet. */
  readonly yields?: boolean;
}

/**
 * SHA-256 of each file's contents, in hex, by path.
 *
 * @throws IngotError INTERRUPTED
 */
export async function hashFiles(
  paths: readonly string[],
  options: HashOptions = {},
): Promise<ReadonlyMap<string, HashResult>> {
  return hashAll('file', paths, options);
}

/** What of extended attributes reaches an image; the rest is the build machine's own. */
const ATTRIBUTES = String.raw`^(security\.capability$|user\.|trusted\.overlay\.opaque$|system\.posix_acl_)`;

/**
 * A digest over all that each tree holds, extended attributes included, by path.
 *
 * @param roots absolute
 * @throws IngotError INTERRUPTED
 */
export async function hashTrees(
  roots: readonly string[],
  options: HashOptions = {},
): Promise<ReadonlyMap<string, HashResult>> {
  const contents = await hashAll('tree', roots, options);
  const results = new Map<string, HashResult>();
  for (const [root, result] of contents) {
    if ('fault' in result) {
      results.set(root, result);
      continue;
    }
    const { stdout } = await run(getfattrArgv(root, ATTRIBUTES), { signal: options.signal });
    const attributes = [...parseGetfattr(stdout)].map(([path, values]) => [
      path.slice(root.length),
      [...values].map(([name, value]) => [name, value.toString('hex')]).sort(),
    ]);
    results.set(root, { hex: hexOf(digestOfJson({ contents: result.hex, attributes: attributes.sort() })) });
  }
  return results;
}

async function hashAll(
  kind: 'file' | 'tree',
  paths: readonly string[],
  { signal, onBytes, yields = false }: HashOptions,
): Promise<Map<string, HashResult>> {
  const results = new Map<string, HashResult>();
  const interrupted = (): IngotError => new IngotError('INTERRUPTED', 'interrupted while hashing');
  if (signal?.aborted === true) throw interrupted();
  if (paths.length === 0) return results;
  const script = new URL(`./hash-worker${extname(import.meta.filename)}`, import.meta.url);
  const workers = Array.from(
    { length: Math.min(paths.length, availableParallelism()) },
    () => new Worker(script, { env: {}, execArgv: [], workerData: { yields } satisfies HashThread }),
  );
  let onAbort: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      onAbort = () => {
        reject(interrupted());
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      let next = 0;
      for (const worker of workers) {
        const give = (): void => {
          const path = paths[next];
          if (path === undefined) return;
          worker.postMessage({ id: next, kind, path } satisfies HashJob);
          next += 1;
        };
        worker.on('error', reject);
        worker.on('message', (answer: HashAnswer) => {
          if ('bytes' in answer) {
            onBytes?.(answer.bytes);
            return;
          }
          results.set(paths[answer.id] ?? '', answer);
          if (results.size === paths.length) resolve();
          else give();
        });
        give();
      }
    });
  } finally {
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return results;
}
