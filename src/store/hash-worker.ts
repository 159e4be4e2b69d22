/** A thread that hashes what it is told, one after the other; see hashing.ts. */
import { parentPort, workerData } from 'node:worker_threads';

import { errnoOf } from '../errors.ts';
import { yieldThread } from '../proc/yield-thread.ts';
import { hashContents, hashTree } from './hash-contents.ts';
import type { HashAnswer, HashJob, HashThread } from './hashing.ts';

if ((workerData as HashThread).yields) yieldThread();

parentPort?.on('message', ({ id, kind, path }: HashJob) => {
  const tell = (answer: HashAnswer): void => {
    parentPort?.postMessage(answer);
  };
  const onBytes = (bytes: number): void => {
    tell({ id, bytes });
  };
  try {
    tell({ id, hex: kind === 'file' ? hashContents(path, onBytes) : hashTree(path, onBytes) });
  } catch (error) {
    const fault = errnoOf(error);
    if (fault === undefined) throw error;
    tell({ id, fault });
  }
});
