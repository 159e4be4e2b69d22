/** Windows, locks and jobs by a clock of the test's own; the engine and what it pulls are played, the journal is real. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { digestOf, type Digest } from '../digest.ts';
import type { ImageSource } from '../oci/image-transfer.ts';
import { MEDIA_TYPES } from '../oci/schema.ts';
import { silentReporter } from '../report/events.ts';
import type { UnattendedUpdates } from '../spec/update-schema.ts';
import type { BoundStore } from './bound/bound-store.ts';
import type { Deployment, Engine } from './engine.ts';
import type { Inhibitor } from './inhibitors.ts';
import { Journal } from './journal.ts';
import { runUnattended, type UnattendedHost, type UnattendedResult, withChannel } from './unattended.ts';

const MINUTE = 60_000;
const NIGHTLY: UnattendedUpdates = {
  window: ['02:00-04:00'],
  randomDelaySeconds: 0,
  download: 'ahead',
  apply: 'restart',
};
const JOB: Inhibitor = { kind: 'gpu', who: 'python3 (71)', why: 'it uses /dev/nvidia0' };
const REFERENCE = 'registry.example.com/ai/node:stable';

let folder: string;
let journal: Journal;
let now: Date;
let did: string[];
let inhibitors: (() => readonly Inhibitor[]) | undefined;
let staged: Deployment | undefined;
let offered: string;
let isOnTrial: boolean;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-unattended-'));
  journal = new Journal(join(folder, 'journal.jsonl'), () => now);
  did = [];
  inhibitors = undefined;
  staged = undefined;
  offered = '2';
  isOnTrial = false;
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

function deployment(version: string, state: Partial<Deployment>): Deployment {
  return {
    ...{ index: 0, id: version, isBooted: false, isStaged: false, isRollback: false, isPinned: false },
    ...{ reference: REFERENCE, digest: imageOf(version).digest, version, facts: {}, layers: [] },
    ...{ created: Date.parse('2026-11-01') / 1000, bootId: undefined, isUnlocked: false },
    ...state,
  };
}

function imageOf(version: string): {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly config: string;
} {
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: [] },
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    config: { mediaType: MEDIA_TYPES.config, digest: digestOf(config), size: config.length },
    layers: [],
    annotations: { 'org.opencontainers.image.version': version },
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  return { digest: digestOf(bytes), bytes, config };
}

const source = {
  shown: REFERENCE,
  manifest: () => {
    const { digest, bytes } = imageOf(offered);
    return Promise.resolve({
      bytes,
      descriptor: { mediaType: MEDIA_TYPES.manifest, digest, size: bytes.length },
    });
  },
  blob: () => [Buffer.from(imageOf(offered).config)],
} as unknown as ImageSource;

const engine = {
  name: 'ostree',
  deployments: () =>
    Promise.resolve([...(staged === undefined ? [] : [staged]), deployment('1', { isBooted: true })]),
  planFetch: () => Promise.resolve({ missing: [], bytes: 0, deltas: [], neededBytes: 0, freeBytes: 1 }),
  requireDownload: () => Promise.resolve(),
  isFetched: () => Promise.resolve(did.includes('fetch')),
  fetch: () => {
    did.push('fetch');
    return Promise.resolve({ unplanned: [] });
  },
  stage: ({ version }: { readonly version: string }) => {
    did.push('stage');
    staged = deployment(version, { isStaged: true });
    return Promise.resolve(staged);
  },
  collect: () => Promise.resolve({ images: 0, layers: 0, bytes: 0 }),
} as unknown as Engine;

/** The images have no containers and no models. */
const bound = {
  plan: () => Promise.resolve({ items: [], bytes: 0, room: [] }),
  fetch: () => Promise.resolve(),
  collect: () => Promise.resolve({ containers: 0, models: 0, bytes: 0 }),
} as unknown as BoundStore;

const host: UnattendedHost = {
  now: () => now,
  timeZone: 'UTC',
  // Half an hour passes with every look.
  inhibitors: () => {
    const found = inhibitors?.() ?? [];
    if (found.length > 0) now = new Date(now.getTime() + 30 * MINUTE);
    return Promise.resolve(found);
  },
  isOnTrial: () => Promise.resolve(isOnTrial),
  lock: () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() }),
  restart: () => Promise.resolve(void did.push('restart')),
  pollMs: 1,
};

function runAt(time: string, settings: Partial<UnattendedUpdates> = {}): Promise<UnattendedResult> {
  now = new Date(time);
  const location = {
    kind: 'registry',
    reference: { registry: 'registry.example.com', repository: 'ai/node', tag: 'stable' },
  } as const;
  return runUnattended(
    { engine, journal, bound, policy: undefined, gpus: [], architecture: 'amd64', reporter: silentReporter },
    { ...NIGHTLY, ...settings },
    { reference: REFERENCE, location, source, openPlace: () => source },
    host,
  );
}
const events = async (): Promise<string[]> => (await journal.read()).entries.map(({ event }) => event);

test('before the window it is downloaded, once, and in the window it is started', async () => {
  expect(await runAt('2026-11-29T12:00:00Z')).toMatchObject({
    outcome: 'downloaded',
    window: { isOpen: false, changesAt: new Date('2026-11-30T02:00:00Z') },
  });
  expect(did).toEqual(['fetch']);
  expect(await runAt('2026-11-30T02:10:00Z')).toMatchObject({ outcome: 'restarting' });
  expect(did).toEqual(['fetch', 'stage', 'restart']);
});

test('nothing is pulled before a window that is to have it all', async () => {
  expect(await runAt('2026-11-29T12:00:00Z', { download: 'window' })).toMatchObject({ outcome: 'closed' });
  expect(did).toEqual([]);
});

test('where a person restarts, it is staged and no more', async () => {
  inhibitors = () => [JOB];
  expect(await runAt('2026-11-30T02:10:00Z', { apply: 'stage' })).toMatchObject({ outcome: 'staged' });
  expect(did).toEqual(['fetch', 'stage']);
});

test('what runs already is left alone', async () => {
  offered = '1';
  expect(await runAt('2026-11-30T02:10:00Z')).toMatchObject({ outcome: 'current' });
  expect(did).toEqual([]);
});

describe('a job that is in the way', () => {
  test('is waited for, and its end is taken', async () => {
    const left = [[JOB], [JOB], []];
    inhibitors = () => left.shift() ?? [];
    expect(await runAt('2026-11-30T02:10:00Z')).toMatchObject({ outcome: 'restarting' });
    expect((await journal.read()).entries.filter(({ event }) => event === 'waiting')).toMatchObject([
      { version: '2', reason: 'python3 (71): it uses /dev/nvidia0' },
    ]);
  });

  test('for longer than the window is open is left, and the next window has it staged', async () => {
    inhibitors = () => [JOB];
    expect(await runAt('2026-11-30T02:10:00Z')).toMatchObject({
      ...{ outcome: 'waiting', inhibitors: [JOB], window: { isOpen: false } },
    });
    expect(did).toEqual(['fetch', 'stage']);
    inhibitors = undefined;
    expect(await runAt('2026-12-01T02:10:00Z')).toMatchObject({ outcome: 'restarting' });
    expect(did).toEqual(['fetch', 'stage', 'restart']);
  });
});

test('by a clock that is wrong no window is open', async () => {
  const result = await runAt('1970-01-01T02:10:00Z');
  expect(result).toMatchObject({
    outcome: 'waiting',
    inhibitors: [{ kind: 'clock', why: 'it says 1970-01-01, and the running image is of 2026-11-01' }],
  });
  await runAt('1970-01-01T02:20:00Z');
  expect(did).toEqual([]);
  expect(await events()).toEqual(['waiting']);
});

test('a system that has not passed its checks yet is not replaced', async () => {
  isOnTrial = true;
  expect(await runAt('2026-11-30T02:10:00Z')).toMatchObject({
    outcome: 'waiting',
    inhibitors: [{ kind: 'trial', who: '1', why: 'it has not passed its checks yet' }],
  });
  expect(did).toEqual([]);
});

test('what is downloaded is not written down again', async () => {
  for (const hour of ['06', '10', '14']) {
    expect(await runAt(`2026-11-29T${hour}:00:00Z`)).toMatchObject({ outcome: 'downloaded' });
  }
  expect(did).toEqual(['fetch']);
  expect(await events()).toEqual(['started', 'downloaded']);
});

test('a refusal is written down once, however often the timer asks', async () => {
  offered = '0';
  for (const hour of ['06', '10', '14']) {
    await expect(runAt(`2026-11-29T${hour}:00:00Z`)).rejects.toMatchObject({ code: 'UPDATE_REFUSED' });
  }
  expect(await events()).toEqual(['refused']);
});

test('a channel is another tag of the same place', () => {
  expect(withChannel(REFERENCE, 'beta')).toBe('registry.example.com/ai/node:beta');
  expect(withChannel('oci:/var/images:1', 'beta')).toBe('oci:/var/images:beta');
  expect(withChannel('oci-archive:/var/image.tar', 'beta')).toBe('oci-archive:/var/image.tar:beta');
});
