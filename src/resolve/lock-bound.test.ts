import { expect, it } from 'vitest';

import { digestOf } from '../digest.ts';
import type { NodeImage } from '../spec/node-image.ts';
import { boundOddities, keptContainer, keptModel, splitReference } from './lock-bound.ts';
import type { Lock } from './lock.ts';

const DIGEST = digestOf('x');
const web = {
  name: 'web',
  image: 'localhost:5000/web',
  tag: '1',
  digest: DIGEST,
  manifest: digestOf('child'),
  blobs: [],
};
const tiny = { name: 'tiny', artifact: 'reg.example.com/tiny', tag: '1', digest: DIGEST, files: [] };
const lock = {
  base: { architecture: 'amd64' },
  containers: [web],
  models: [tiny],
} as unknown as Lock;

it('takes references apart', () => {
  expect(splitReference('localhost:5000/a/b:1.0')).toEqual({
    place: 'localhost:5000/a/b',
    tag: '1.0',
    digest: undefined,
  });
  expect(splitReference(`reg.example.com/a@${DIGEST}`)).toEqual({
    place: 'reg.example.com/a',
    tag: undefined,
    digest: DIGEST,
  });
  expect(splitReference(`reg.example.com:1/a:t@${DIGEST}`)).toEqual({
    place: 'reg.example.com:1/a',
    tag: 't',
    digest: DIGEST,
  });
});

it('keeps an entry as long as the same is asked for', () => {
  expect(keptContainer(lock, 'web', 'localhost:5000/web:1', 'amd64')).toBe(web);
  expect(keptContainer(lock, 'web', `localhost:5000/web:1@${DIGEST}`, 'amd64')).toBe(web);
  for (const other of ['localhost:5000/web:2', 'localhost/web:1', `localhost:5000/web:1@${digestOf('y')}`]) {
    expect(keptContainer(lock, 'web', other, 'amd64')).toBeUndefined();
  }
  expect(keptContainer(lock, 'other', 'localhost:5000/web:1', 'amd64')).toBeUndefined();
  expect(keptContainer(lock, 'web', 'localhost:5000/web:1', 'arm64')).toBeUndefined();
  expect(keptModel(lock, 'tiny', 'reg.example.com/tiny:1')).toBe(tiny);
  expect(keptModel(lock, 'tiny', 'reg.example.com/tiny:2')).toBeUndefined();
  expect(keptModel(undefined, 'tiny', 'reg.example.com/tiny:1')).toBeUndefined();
});

it('says what a lock lacks, and what it should not have', () => {
  const image = {
    agent: 'ingot',
    containers: [{ name: 'web', image: 'localhost:5000/web:1', quadlet: '' }],
    models: [{ name: 'tiny', artifact: 'reg.example.com/tiny:1', path: '' }],
  } as unknown as NodeImage;
  expect(boundOddities(lock, image)).toEqual([]);
  expect(boundOddities({ ...lock, containers: [], models: [] }, image)).toEqual([
    'it lacks the container web',
    'it lacks the model tiny',
  ]);
  const { containers: _containers, models: _models, ...bare } = image;
  expect(boundOddities(lock, bare)).toEqual([
    'it has the container web, which is not declared',
    'it has the model tiny, which is not declared',
  ]);
  const ofLayer = {
    layer: 'runtime-vllm',
    name: 'vllm',
    image: 'docker.io/vllm/vllm',
    tag: '1',
    digest: DIGEST,
  };
  expect(boundOddities({ ...lock, containers: [web, ofLayer] }, image)).toEqual([
    'it does not say what the container vllm is made of',
  ]);
});
