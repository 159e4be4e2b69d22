/** A thread that hashes what it is told, one after the other; see hashing.ts. */
import { parentPort, workerData } from 'node:worker_threads';

import { errnoOf } from '../errors.ts';
import { yieldThread } from '../proc/yield-thread.ts';
import { GrowingFile, hashContents, hashTree } from './hash-contents.ts';
import type { HashAnswer, HashJob, HashThread } from './hashing.ts';

if ((workerData as HashThread).yields) yieldThread();

const followed = new Map<number, GrowingFile>();

parentPort?.on('message', (job: HashJob) => {
  const { id } = job;
  const tell = (answer: HashAnswer): void => {
    parentPort?.postMessage(answer);
  };
  try {
    const hex = hashOf(job, (bytes) => {
      tell({ id, bytes });
    });
    if (hex !== undefined) tell({ id, hex });
  } catch (error) {
    followed.get(id)?.end();
    followed.delete(id);
    const fault = errnoOf(error);
    if (fault === undefined) throw error;
    tell({ id, fault });
  }
});

/** Nothing for a step of the way, and for what was given up before. */
function hashOf(job: HashJob, onBytes: (bytes: number) => void): string | undefined {
  switch (job.kind) {
    case 'file':
      return hashContents(job.path, onBytes);
    case 'tree':
      return hashTree(job.path, onBytes);
    case 'follow':
      followed.set(job.id, new GrowingFile(job.path));
      return undefined;
    case 'grown':
      followed.get(job.id)?.hashUpTo(job.bytes);
      onBytes(job.bytes);
      return undefined;
    case 'end': {
      const file = followed.get(job.id);
      followed.delete(job.id);
      return file?.end();
    }
  }
}
