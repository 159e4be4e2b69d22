/** The medium that the installer was started from, among all devices of a machine. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

import { digestOf } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import { findIsoFile, isIso, readIsoFile } from './iso-files.ts';
import { Medium, MEDIUM_FILE } from './medium.ts';

const MAX_DESCRIPTION_BYTES = 16 * 1024 * 1024;
const POLL_MS = 1000;

export interface FoundMedium extends AsyncDisposable {
  readonly path: string;
  readonly source: FileHandle;
  readonly medium: Medium;
  readonly digest: string;
}

export interface MediumWish {
  /** Devices to look at, asked again as long as none is the one: a stick takes its time to appear. */
  readonly candidates: () => Promise<readonly string[]>;
  /** Digest that its description must have; undefined for any. */
  readonly digest: string | undefined;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** @throws IngotError NOT_FOUND when none is there in time; DISK_FAILED for a damaged one; INTERRUPTED */
export async function findMedium(wish: MediumWish): Promise<FoundMedium> {
  const end = performance.now() + wish.timeoutMs;
  for (;;) {
    for (const path of await wish.candidates()) {
      const found = await openMedium(path, wish.digest);
      if (found !== undefined) return found;
    }
    if (performance.now() >= end) break;
    if (wish.signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted');
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new IngotError('NOT_FOUND', 'no medium of an installer is here', {
    hint: 'it must stay in the machine until it has been installed; an ISO is written to a stick as it is, by `dd`',
  });
}

async function openMedium(path: string, digest: string | undefined): Promise<FoundMedium | undefined> {
  let source: FileHandle;
  try {
    source = await open(path, constants.O_RDONLY);
  } catch (error) {
    // A drive without a CD, or a device that has just gone.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  let found: FoundMedium | undefined;
  try {
    found = await describe(path, source, digest);
  } catch (error) {
    // What cannot be read is not the medium; a damaged one of ours says so.
    if (error instanceof IngotError || errnoOf(error) === undefined) throw error;
  } finally {
    if (found === undefined) await source.close();
  }
  return found;
}

async function describe(
  path: string,
  source: FileHandle,
  wanted: string | undefined,
): Promise<FoundMedium | undefined> {
  if (!(await isIso(source))) return undefined;
  const file = await findIsoFile(source, MEDIUM_FILE);
  if (file === undefined || file.size > MAX_DESCRIPTION_BYTES) return undefined;
  const text = Buffer.concat(await Array.fromAsync(readIsoFile(source, file)));
  const digest = digestOf(text);
  if (wanted !== undefined && wanted !== digest) return undefined;
  const parsed = Medium.safeParse(JSON.parse(text.toString()));
  if (!parsed.success) {
    throw new IngotError('DISK_FAILED', `${path} holds an installer that this version cannot read`, {
      cause: parsed.error,
    });
  }
  const { data: medium } = parsed;
  return { path, source, medium, digest, [Symbol.asyncDispose]: () => source.close() };
}
