/** A thread that makes the stand-ins it is told, one after the other; see stand-ins.ts. */
import { parentPort } from 'node:worker_threads';

import { errnoOf } from '../../errors.ts';
import { makeStandIn, UnfitPackage, type AsideFile, type StandInJob } from './stand-in.ts';

/** The pipe has a reader now. */
export interface StandInListening {
  readonly listening: number;
}

export type StandInAnswer =
  | { readonly id: number; readonly aside: readonly AsideFile[] }
  /** Why dpkg gets the package itself. */
  | { readonly id: number; readonly unfit: string };

parentPort?.on('message', (job: StandInJob) => {
  const tell = (answer: StandInAnswer | StandInListening): void => {
    parentPort?.postMessage(answer);
  };
  try {
    tell({ id: job.id, aside: makeStandIn(job, () => { tell({ listening: job.id }); }) });
  } catch (error) {
    const fault = error instanceof UnfitPackage ? error.message : errnoOf(error);
    if (fault === undefined) throw error;
    tell({ id: job.id, unfit: fault });
  }
});
