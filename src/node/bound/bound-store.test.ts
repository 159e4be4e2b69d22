import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { writeArtifact } from '../../../test/support/small-artifact.ts';
import { digestOf, hexOf } from '../../digest.ts';
import { LayoutSource } from '../../oci/layout-source.ts';
import { boundDigest, type BoundContent } from '../../plan/bound.ts';
import { silentReporter } from '../../report/events.ts';
import { parseTrustPolicy } from '../../trust/policy.ts';
import { BoundStore, type OpenPlace, requireBoundRoom } from './bound-store.ts';
import { ModelStore } from './model-store.ts';

let scratch: string;
let content: BoundContent;
let open: OpenPlace;

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-bound-'));
  const layout = join(scratch, 'layout');
  const digest = await writeArtifact(layout, [{ title: 'weights.bin', content: 'weights' }]);
  const file = { name: 'weights.bin', digest: digestOf('weights'), size: 7 };
  const model = { name: 'tiny', artifact: 'registry.example.com/models/tiny', tag: '1', digest };
  content = { containers: [], models: [{ ...model, path: '/usr/share/models/tiny', files: [file] }] };
  const source = await LayoutSource.open(layout);
  open = () => source;
});

afterEach(async () => {
  await rm(scratch, { recursive: true, force: true });
});

async function storeWith(policy?: string): Promise<BoundStore> {
  return new BoundStore({
    containers: undefined,
    models: new ModelStore(join(scratch, 'models')),
    completeFolder: join(scratch, 'complete'),
    policy:
      policy === undefined
        ? undefined
        : await parseTrustPolicy(policy, 'trust.yaml', {
            readKey: () => Promise.reject(new Error('no key')),
          }),
    reporter: silentReporter,
  });
}

const notes = (): Promise<string[]> => readdir(join(scratch, 'complete')).catch(() => []);

it('says what is missing, pulls it, and notes that all is there', async () => {
  const store = await storeWith();
  const before = await store.plan(content);
  expect(before).toMatchObject({
    bytes: 7,
    items: [{ kind: 'model', name: 'tiny', bytes: 7, isPresent: false }],
  });
  expect(before.items[0]?.reference).toBe('registry.example.com/models/tiny:1');
  expect(before.room.every(({ freeBytes }) => freeBytes > 0)).toBe(true);
  await store.fetch(content, open);
  expect(await notes()).toEqual([hexOf(boundDigest(content))]);
  expect(await store.plan(content)).toMatchObject({ bytes: 0, room: [], items: [{ isPresent: true }] });
  expect(await store.collect([content])).toEqual({ containers: 0, models: 0 });
  expect(await store.collect([])).toEqual({ containers: 0, models: 1 });
  expect(await notes()).toEqual([]);
});

it.each([
  ['default: reject', undefined],
  ['default: accept', undefined],
  ['default: reject\nrepositories: { registry.example.com/*: accept }', undefined],
  ['default: accept\nrepositories: { registry.example.com/*: reject }', 'UPDATE_REFUSED'],
])('by the policy %j', async (policy, code) => {
  const store = await storeWith(policy);
  if (code === undefined) {
    await store.fetch(content, open);
    expect(await notes()).toHaveLength(1);
    return;
  }
  await expect(store.fetch(content, open)).rejects.toMatchObject({ code });
  expect(await notes()).toEqual([]);
  expect((await store.plan(content)).bytes).toBe(7);
});

it('adds up what goes to one disk, and refuses before the first byte', async () => {
  const store = await storeWith();
  const { room } = await store.plan(content, { path: scratch, neededBytes: 1024 ** 5 });
  expect(room).toHaveLength(1);
  expect(room[0]?.neededBytes).toBeGreaterThan(1024 ** 5 + 7);
  expect(() => {
    requireBoundRoom({ items: [], bytes: 7, room });
  }).toThrow(expect.objectContaining({ code: 'DISK_FULL' }) as Error);
});
