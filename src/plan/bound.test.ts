import { describe, expect, it } from 'vitest';

import { digestOf } from '../digest.ts';
import type { CatalogLayer } from '../catalog/layer.ts';
import type { Lock, LockedLayer } from '../resolve/lock.ts';
import type { NodeImage } from '../spec/node-image.ts';
import {
  boundBlobs,
  boundDigest,
  boundFiles,
  boundOf,
  boundService,
  type BoundContent,
  layerQuadlets,
  parseBound,
  renderBound,
} from './bound.ts';

const WEIGHTS = { digest: digestOf('weights'), size: 7 };
const LAYER = { digest: digestOf('layer'), size: 100 };

const lock = {
  agent: { name: 'ingot', layer: 'agent-ingot', version: '1', node: '24', files: [] },
  containers: [
    {
      name: 'web',
      image: 'reg.example.com/web',
      tag: '1',
      digest: digestOf('index'),
      manifest: digestOf('manifest'),
      blobs: [{ digest: digestOf('config'), size: 10 }, LAYER],
    },
    // Without a manifest: locked before the image had an agent.
    { layer: 'runtime-x', name: 'x', image: 'reg.example.com/x', tag: '1', digest: digestOf('x') },
  ],
  models: [
    {
      name: 'tiny',
      artifact: 'reg.example.com/tiny',
      digest: digestOf('artifact'),
      files: [{ name: 'a.bin', ...WEIGHTS }],
    },
  ],
} as unknown as Lock;

const image = {
  containers: [
    { name: 'web', image: 'reg.example.com/web:1', quadlet: '[Container]\nImage=reg.example.com/web:1\n' },
  ],
  models: [{ name: 'tiny', artifact: 'reg.example.com/tiny', path: '/usr/share/tiny' }],
} as unknown as NodeImage;

function content(): BoundContent {
  const found = boundOf(lock, image);
  if (found === undefined) throw new TypeError('nothing is bound');
  return found;
}

describe('what belongs to an image', () => {
  it('is what the lock has, and comes back from an annotation', () => {
    expect(content().containers.map(({ name }) => name)).toEqual(['web']);
    expect(content().models).toMatchObject([{ name: 'tiny', path: '/usr/share/tiny' }]);
    expect(parseBound(renderBound(content()))).toEqual(content());
    expect(boundBlobs(content())).toEqual(
      new Map([
        [digestOf('config'), 10],
        [LAYER.digest, 100],
        [WEIGHTS.digest, 7],
      ]),
    );
    const [web] = content().containers;
    const twice = { ...content(), containers: web === undefined ? [] : [web, { ...web, name: 'other' }] };
    expect(boundBlobs(twice).size).toBe(3);
    expect(boundDigest(twice)).not.toBe(boundDigest(content()));
  });

  it('is nothing without an agent, which would pull it', () => {
    const { agent: _agent, ...without } = lock;
    expect(boundOf(without, image)).toBeUndefined();
    expect(boundFiles(image, without)).toEqual([]);
  });

  it('becomes a quadlet for one digest, and links', () => {
    const files = new Map(boundFiles(image, lock).map((file) => [file.path, file]));
    expect([...files.keys()].sort()).toEqual([
      '/usr/lib/bootc/bound-images.d/web.container',
      '/usr/lib/bootc/storage',
      '/usr/lib/ingot/bound.json',
      '/usr/share/containers/systemd/web.container',
      '/usr/share/tiny',
    ]);
    const quadlet = files.get('/usr/share/containers/systemd/web.container');
    expect(quadlet).toMatchObject({
      content: expect.stringContaining(
        `Image=reg.example.com/web@${digestOf('manifest')}\nPull=never\n`,
      ) as string,
    });
    expect(files.get('/usr/share/tiny')).toEqual({
      path: '/usr/share/tiny',
      link: `/var/lib/ingot/models/sha256-${digestOf('artifact').slice(7)}`,
    });
    expect(files.get('/usr/lib/bootc/bound-images.d/web.container')).toMatchObject({
      link: '/usr/share/containers/systemd/web.container',
    });
  });

  it('is looked for when the system starts, under a name of its own', () => {
    const { unit, health } = boundService(content());
    expect(unit.content).toContain(
      `ConditionPathExists=!/var/lib/ingot/bound/${boundDigest(content()).slice(7)}\n`,
    );
    expect(health.run).toBe('ingot node bound');
  });
});

describe('the quadlet of a layer', () => {
  const definition = { quadlet: '[Container]\nImage={image}\n' } as CatalogLayer;
  const layer = { name: 'runtime-x' } as LockedLayer;
  const textOf = (one: Lock): string => {
    const [file] = layerQuadlets(definition, layer, one);
    return file !== undefined && 'content' in file ? file.content : '';
  };

  it('is for the store of bound images where an agent pulls, and for a registry elsewhere', () => {
    const [, container] = lock.containers ?? [];
    if (container === undefined) throw new TypeError('no container of a layer');
    const bound = { ...lock, containers: [{ ...container, manifest: digestOf('own'), blobs: [LAYER] }] };
    expect(textOf(bound)).toContain(`Image=reg.example.com/x@${digestOf('own')}\nPull=never\n`);
    const { agent: _agent, ...without } = bound;
    expect(textOf(without)).toBe(`[Container]\nImage=reg.example.com/x@${container.digest}\n`);
    expect(textOf(lock)).toBe(textOf(without));
    expect(layerQuadlets(definition, { ...layer, name: 'other' }, bound)).toEqual([]);
  });
});

describe('an annotation that somebody else wrote', () => {
  const changed = (change: (value: BoundContent) => unknown): BoundContent | undefined =>
    parseBound(JSON.stringify(change(structuredClone(content()))));

  it.each(['', '[]', '{}', 'no json', '{"containers":[],"models":[{}]}'])('%j is nothing', (text) => {
    expect(parseBound(text)).toBeUndefined();
  });

  it.each(['../../etc/passwd', '/etc/passwd', 'a/../b', 'a//b', '', 'a\0b', 'a\nb'])(
    'takes no file %j',
    (name) => {
      const found = changed(({ containers, models }) => ({
        containers,
        models: models.map((model) => ({ ...model, files: [{ ...WEIGHTS, name }] })),
      }));
      expect(found).toBeUndefined();
    },
  );

  it('takes no name and no place that could be an option or a path', () => {
    for (const image of ['--all', 'reg.example.com/../x y', '/etc']) {
      expect(
        changed(({ containers, models }) => ({
          models,
          containers: containers.map((one) => ({ ...one, image })),
        })),
      ).toBeUndefined();
    }
    expect(
      changed(({ containers, models }) => ({
        models,
        containers: containers.map((one) => ({ ...one, name: '../x' })),
      })),
    ).toBeUndefined();
  });
});
