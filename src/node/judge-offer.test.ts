import { describe, expect, test } from 'vitest';

import type { Digest } from '../digest.ts';
import type { Descriptor } from '../oci/schema.ts';
import type { OfferedImage } from './engine.ts';
import { compareAges, judgeOffer, type JudgeOptions } from './judge-offer.ts';

const digest = `sha256:${'b'.repeat(64)}` as Digest;
const other = `sha256:${'a'.repeat(64)}` as Digest;
const GPUS = JSON.stringify([{ name: 'l40s', pci: ['10de:26b9'] }]);

interface Offered {
  readonly version?: string;
  readonly gpus?: string;
  readonly architecture?: string;
  readonly created?: string;
  readonly reference?: string;
  /** Names of layers of an image that Ingot built. */
  readonly layers?: readonly string[];
}

function named(layers: readonly string[]): Descriptor[] {
  return layers.map((name) => ({
    mediaType: 'x',
    digest,
    size: 1,
    annotations: { 'dev.ingot.layer': name },
  }));
}

function offer({
  version = '20261122.2',
  gpus,
  architecture = 'amd64',
  created,
  reference,
  layers,
}: Offered): OfferedImage {
  const config = { mediaType: 'x', digest, size: 1 };
  return {
    reference: reference ?? 'registry.example.com/ai/node:stable',
    digest,
    root: digest,
    version,
    manifest: {
      schemaVersion: 2,
      config,
      layers: named(layers ?? []),
      annotations: {
        ...(gpus !== undefined && { 'dev.ingot.gpus': gpus }),
        ...(layers !== undefined && { 'dev.ingot.lock': other }),
      },
    },
    config: {
      os: 'linux',
      architecture,
      rootfs: { type: 'layers', diff_ids: [] },
      ...(created !== undefined && { created }),
    },
  };
}

const booted: JudgeOptions['booted'] = {
  version: '20261122.1',
  created: 1_700_000_000,
  facts: {},
  reference: 'registry.example.com/ai/node:stable',
  digest: other,
  layers: undefined,
};
const here: JudgeOptions = { booted, gpus: [], architecture: 'amd64', bad: new Set() };
const gpu = (pci: string): JudgeOptions['gpus'] => [{ address: '0000:01:00.0', pci }];
const kinds = (offered: Offered, options: Partial<JudgeOptions> = {}): string[] =>
  judgeOffer(offer(offered), { ...here, ...options }).map(({ kind }) => kind);

test('a newer image for this machine is taken', () => {
  expect(kinds({})).toEqual([]);
});

test('everything that speaks against an image is said at once', () => {
  const facts = { gpus: [{ name: 'h100', pci: ['10de:2330'] }] };
  const all = judgeOffer(offer({ version: '20251122.1', gpus: GPUS, architecture: 'arm64' }), {
    ...here,
    booted: { ...booted, facts },
    gpus: gpu('10de:2330'),
    bad: new Set([digest]),
  });
  expect(all.map(({ kind }) => kind)).toEqual(['architecture', 'gpu', 'downgrade', 'bad']);
  expect(all.map(({ flag }) => flag)).toEqual([undefined, '--force', '--allow-downgrade', '--force']);
  expect(all[1]?.message).toContain('10de:2330');
});

describe('Ingot’s agent', () => {
  const running = { ...booted, layers: named(['base', 'agent-ingot', 'seal']) };

  test.each([
    ['an image without it', ['base', 'kernel', 'seal'], running, ['agent']],
    ['an image with it', ['base', 'agent-ingot', 'seal'], running, []],
    ['an image of another tool', undefined, running, []],
    ['a node that has it from elsewhere', ['base', 'kernel', 'seal'], booted, []],
  ])('%s', (_what, layers, runs, expected) => {
    const offered = layers === undefined ? {} : { layers };
    expect(kinds(offered, { booted: runs })).toEqual(expected);
    expect(kinds(offered, { booted: runs, force: true })).toEqual([]);
  });
});

describe('GPUs', () => {
  const running = { ...booted, facts: { gpus: [{ name: 'h100', pci: ['10de:2330'] }] } };

  test.each([
    ['one that the image is for', { gpus: GPUS }, '10de:26b9', booted, []],
    ['one of the same maker that it is not for', { gpus: GPUS }, '10de:2330', booted, ['gpu']],
    ['one that the running image was for, by an image for none', {}, '10de:2330', running, ['gpu']],
    ['one that no image ever was for, by an image for none', {}, '10de:2330', booted, []],
    ['a controller on the mainboard', { gpus: GPUS }, '1a03:2000', booted, []],
  ])('%s', (_what, offered, pci, runs, expected) => {
    expect(kinds(offered, { gpus: gpu(pci), booted: runs })).toEqual(expected);
    expect(kinds(offered, { gpus: gpu(pci), booted: runs, force: true })).toEqual([]);
  });
});

describe('versions', () => {
  test.each([
    ['20261122.10', '20261122.9', 1],
    ['1.0', '1.0', 0],
    ['1.0~rc1', '1.0', -1],
    ['2', '10', -1],
  ])('%s against %s', (left, right, sign) => {
    const order = compareAges({ version: left, created: 1 }, { version: right, created: 2 });
    expect(Math.sign(order ?? Number.NaN)).toBe(sign);
  });

  test('that have no order are told by when the images were made', () => {
    expect(compareAges({ version: 'blue', created: 2 }, { version: 'green', created: 1 })).toBe(1);
    expect(
      compareAges({ version: 'blue', created: undefined }, { version: 'green', created: 1 }),
    ).toBeUndefined();
  });

  test('that are older are refused, unless they are asked for or of something else', () => {
    const older = { version: '20261121.1' };
    expect(kinds(older)).toEqual(['downgrade']);
    expect(kinds(older, { allowDowngrade: true })).toEqual([]);
    expect(kinds({ ...older, reference: 'registry.example.com/ai/node:beta' })).toEqual(['downgrade']);
    expect(kinds({ ...older, reference: 'registry.example.com:443/ai/other:stable' })).toEqual([]);
    expect(
      kinds(
        { ...older, reference: 'oci:/images:stable' },
        { booted: { ...booted, reference: 'oci:/images' } },
      ),
    ).toEqual(['downgrade']);
    expect(kinds(older, { booted: { ...booted, digest } })).toEqual([]);
  });
});

test('an image that was not good here is taken by force alone', () => {
  const bad = new Set([digest]);
  expect(kinds({}, { bad })).toEqual(['bad']);
  expect(kinds({}, { bad, allowDowngrade: true })).toEqual(['bad']);
  expect(kinds({}, { bad, force: true })).toEqual([]);
});
