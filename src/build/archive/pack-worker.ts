/**
 * A thread that packs the chunks it is told, one after the other; see packers.ts.
 *
 * It yields to all other threads of the build: nobody waits for a blob before the end, while trees are waited for by
 * the steps on top of them. So packing takes the cores that are left, and no step is the slower for it.
 */
import { closeSync, openSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

import { errnoOf, IngotError } from '../../errors.ts';
import { yieldThread } from '../../proc/yield-thread.ts';
import { FRAME_BYTES, LayerBlobWriter } from './layer-blob.ts';
import type { PackAnswer, PackJob } from './packers.ts';
import { streamEntries } from './tar-stream.ts';

const block = Buffer.allocUnsafeSlow(FRAME_BYTES);

yieldThread();
parentPort?.on('message', (job: PackJob) => {
  const tell = (answer: PackAnswer): void => {
    parentPort?.postMessage(answer);
  };
  try {
    tell({ blob: pack(job, (bytes) => { tell({ bytes }); }) });
  } catch (error) {
    if (error instanceof IngotError) {
      const { code, message, hint } = error;
      tell({ refused: { code, message, hint } });
      return;
    }
    const fault = errnoOf(error);
    if (fault === undefined) throw error;
    tell({ fault, message: (error as Error).message });
  }
});

function pack({ entries, time, level, path }: PackJob, onProgress: (bytes: number) => void): ReturnType<LayerBlobWriter['finish']> {
  const fd = openSync(path, 'wx', 0o644);
  try {
    const writer = new LayerBlobWriter({ fd, level, onProgress });
    streamEntries(entries, time, block, writer);
    return writer.finish();
  } finally {
    closeSync(fd);
  }
}
