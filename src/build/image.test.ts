import { describe, expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import { ImageConfig, Manifest } from '../oci/schema.ts';
import type { Plan } from '../plan/plan.ts';
import { type ImageInput, renderImage } from './image.ts';

const PLAN: Plan = {
  name: 'debian-minimal',
  version: '2026.02.01.0',
  epoch: 1_770_000_000,
  architecture: 'amd64',
  kernelRelease: '6.12.1+deb13-cloud-amd64',
  facts: { base: 'debian@13', kernel: { release: '6.12.1+deb13-cloud-amd64' } },
  lock: digestOf('lock'),
  compressionLevel: 3,
  steps: [],
  seal: {
    imageName: 'debian-minimal',
    version: '2026.02.01.0',
    kernelRelease: '6.12.1+deb13-cloud-amd64',
    groups: [],
    users: [],
    units: [],
    kernelArguments: [],
    health: [{ name: 'answers', run: 'true', timeoutSeconds: 5 }],
  },
  key: digestOf('key'),
};

const INPUT: ImageInput = {
  plan: PLAN,
  layers: ['base', 'seal'].map((name) => ({
    step: { name, summary: `What ${name} holds` },
    layer: {
      chunks: (name === 'base' ? ['rest', 'packages'] : ['rest']).map((chunk) => ({
        name: chunk,
        mediaType: 'application/vnd.oci.image.layer.v1.tar+zstd',
        diffId: digestOf(`${name} ${chunk} plain`),
        digest: digestOf(`${name} ${chunk}`),
        size: 10,
        uncompressedSize: 100,
        entries: 3,
      })),
    },
  })),
};

describe('renderImage', () => {
  test('says who it is, in labels, annotations and history', () => {
    const { config, manifest, descriptor } = renderImage(INPUT);
    expect(config.created).toBe('2026-02-02T02:40:00Z');
    expect(config.config?.Labels).toMatchObject({
      'containers.bootc': '1',
      'org.opencontainers.image.title': 'debian-minimal',
      'org.opencontainers.image.version': '2026.02.01.0',
      'dev.ingot.base': 'debian@13',
    });
    expect(config.history?.map((entry) => entry.created_by)).toEqual([
      'ingot layer base chunk rest',
      'ingot layer base chunk packages',
      'ingot layer seal chunk rest',
    ]);
    expect(config.rootfs.diff_ids).toEqual(
      ['base rest', 'base packages', 'seal rest'].map((name) => digestOf(`${name} plain`)),
    );
    expect(manifest.annotations).toMatchObject({
      'dev.ingot.kernel': '6.12.1+deb13-cloud-amd64',
      'dev.ingot.lock': digestOf('lock'),
      'dev.ingot.health': '[{"name":"answers","run":"true","timeoutSeconds":5}]',
    });
    expect(manifest.layers.map(({ digest, annotations }) => [digest, annotations])).toEqual([
      [digestOf('base rest'), { 'dev.ingot.layer': 'base', 'dev.ingot.chunk': 'rest' }],
      [digestOf('base packages'), { 'dev.ingot.layer': 'base', 'dev.ingot.chunk': 'packages' }],
      [digestOf('seal rest'), { 'dev.ingot.layer': 'seal', 'dev.ingot.chunk': 'rest' }],
    ]);
    expect(descriptor.platform).toEqual({ os: 'linux', architecture: 'amd64' });
  });

  test('its documents are those of the specification, named by their bytes', () => {
    const { blobs, config, manifest, descriptor } = renderImage(INPUT);
    const [configBlob, manifestBlob] = blobs;
    expect(ImageConfig.parse(JSON.parse(configBlob?.text ?? ''))).toEqual(config);
    expect(Manifest.parse(JSON.parse(manifestBlob?.text ?? ''))).toEqual(manifest);
    expect(manifest.config.digest).toBe(digestOf(configBlob?.text ?? ''));
    expect(descriptor.digest).toBe(digestOf(manifestBlob?.text ?? ''));
  });

  test('equal inputs have one digest, whatever order their members are in', () => {
    const reordered: ImageInput = {
      plan: Object.fromEntries(Object.entries(PLAN).reverse()) as unknown as Plan,
      layers: INPUT.layers,
    };
    expect(renderImage(reordered).descriptor).toEqual(renderImage(INPUT).descriptor);
    const later = { ...INPUT, plan: { ...PLAN, epoch: PLAN.epoch + 1 } };
    expect(renderImage(later).descriptor.digest).not.toBe(renderImage(INPUT).descriptor.digest);
  });
});
