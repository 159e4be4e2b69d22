/** A thread that makes the stand-ins it is told, one after the other; see stand-ins.ts. */
import { closeSync } from 'node:fs';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';

import { errnoOf } from '../../errors.ts';
import type { GrowingJob, Unpacked } from '../archive/growing-archive-worker.ts';
import { makeStandIn, UnfitPackage, type AsideFile, type PackageWatcher, type StandInJob } from './stand-in.ts';

/** What the thread is told at its start. */
export interface StandInThreadData {
  /** Where the archive of a package is made meanwhile, if one is. */
  readonly follower?: MessagePort | undefined;
}

/** The pipe has a reader now. */
export interface StandInListening {
  readonly listening: number;
}

export type StandInAnswer =
  | { readonly id: number; readonly aside: readonly AsideFile[] }
  /** Why dpkg gets the package itself. */
  | { readonly id: number; readonly unfit: string };

const { follower } = workerData as StandInThreadData;

parentPort?.on('message', (job: StandInJob) => {
  const tell = (answer: StandInAnswer | StandInListening): void => {
    parentPort?.postMessage(answer);
  };
  const onListening = (): void => {
    tell({ listening: job.id });
  };
  try {
    tell({ id: job.id, aside: makeFollowed(job, onListening) });
  } catch (error) {
    const fault = error instanceof UnfitPackage ? error.message : errnoOf(error);
    if (fault === undefined) throw error;
    tell({ id: job.id, unfit: fault });
  }
});

function makeFollowed(job: StandInJob, onListening: () => void): AsideFile[] {
  if (follower === undefined || job.archive === undefined) return makeStandIn(job, onListening);
  const say = (message: Unpacked): void => {
    follower.postMessage(message);
  };
  say({ begin: job.archive });
  let end: 'whole' | 'broken' = 'broken';
  try {
    const aside = makeStandIn(job, onListening, watcherFor(job.archive, say));
    end = 'whole';
    return aside;
  } finally {
    say({ end });
  }
}

function watcherFor({ filesFrom = 0 }: GrowingJob, say: (message: Unpacked) => void): PackageWatcher {
  const wants = (size: number): boolean => size >= filesFrom;
  return {
    wants,
    onEntry: (entry, contents) => {
      say({ entry, ...(contents !== undefined && { contents }) });
    },
    onFile: (entry, file) => {
      if (wants(entry.size)) say({ growing: entry, file });
      else closeSync(file.fd);
    },
  };
}
