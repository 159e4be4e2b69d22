import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';

import { loadFacts } from '../../catalog/facts/load.ts';
import { loadCatalog } from '../../catalog/load.ts';
import type { CommandResult } from '../context.ts';
import { WIDTH } from './layout.ts';
import { renderMatches } from './render-search.ts';
import { hardwareOf, searchCatalog } from './search.ts';
import { listGpus } from './show-gpus.ts';
import { showNamedGpus, showSubject, type ShowInput } from './show.ts';
import { describeStatus, statusOf } from './status.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const TODAY = new Date('2026-11-22T00:00:00Z');

let input: ShowInput;
beforeAll(async () => {
  const { layers } = await loadCatalog([join(ROOT, 'layers')]);
  input = { facts: await loadFacts(join(ROOT, 'drivers')), layers, today: TODAY };
});

function search(...words: string[]): ReturnType<typeof searchCatalog> {
  return searchCatalog(input.layers, input.facts, words);
}

const layerNames = (...words: string[]): string[] =>
  search(...words).layers.map(({ definition }) => `${definition.kind}/${definition.name}`);

describe('search', () => {
  test('without words is every layer', () => {
    expect(search().layers).toEqual(input.layers);
    expect(search().gpus).toEqual([]);
  });

  test('reads names, kinds and summaries, and asks for every word', () => {
    expect(layerNames('ssh')).toEqual(['addon/ssh']);
    expect(layerNames('KERNEL', 'cloud')).toEqual(['kernel/cloud']);
    expect(layerNames('kernel', 'ssh')).toEqual([]);
  });

  test('finds the layers that are for a GPU', () => {
    expect(layerNames('h100')).toContain('driver/nvidia-open');
    expect(layerNames('h100')).not.toContain('driver/amdgpu');
    expect(layerNames('mi300x')).toContain('driver/amdgpu');
    expect(layerNames('v100-sxm2')).toContain('driver/nvidia-proprietary');
    expect(layerNames('v100-sxm2')).not.toContain('driver/nvidia-open');
    // The driver that Debian has is older than B200.
    expect(layerNames('b200')).not.toContain('driver/nvidia-open');
  });

  test('finds GPUs by name and by part of it', () => {
    expect(search('rtx', '4090').gpus.map(({ product }) => product)).toEqual(['GeForce RTX 4090']);
    expect(search('a100').gpus.length).toBeGreaterThan(3);
    expect(search('geforce', 'laptop').gpus.length).toBeGreaterThan(10);
  });

  test('that finds nothing says so, and ends with 1', () => {
    const result = renderMatches(search('toaster'), input.facts, ['toaster']);
    expect(result.exitCode).toBe(1);
    expect(result.text).toContain('Nothing in the catalogue matches "toaster"');
  });

  test('a layer that asks nothing of the hardware is for any', () => {
    const ssh = input.layers.find(({ definition }) => definition.name === 'ssh');
    expect(ssh && hardwareOf(ssh.definition, input.facts)).toBeUndefined();
  });
});

describe('status', () => {
  const branch = (number: number) => {
    const row = input.facts.nvidia.branches.get(number);
    if (row === undefined) throw new Error(String(number));
    return row;
  };

  test('is in a person’s words', () => {
    expect(describeStatus(branch(580), TODAY)).toBe('supported until 2028-06');
    expect(describeStatus(branch(570), TODAY)).toBe('end of life since 2026-02');
    expect(describeStatus(branch(550), TODAY)).toBe('end of life');
    expect(describeStatus(branch(616), TODAY)).toBe('preview');
    expect(describeStatus(branch(620), TODAY)).toBe('not stated');
  });

  test('changes after the last month', () => {
    expect(statusOf(branch(595), new Date('2027-03-31T12:00:00Z'))).toBe('supported');
    expect(statusOf(branch(595), new Date('2027-04-01T12:00:00Z'))).toBe('eol');
  });
});

describe('show', () => {
  const results = (): [string, CommandResult][] => [
    ['all', renderMatches(search(), input.facts, [])],
    ['nvidia', renderMatches(search('nvidia'), input.facts, ['nvidia'])],
    ['gpus', listGpus(input.facts)],
    ...[
      'h100',
      'h100-sxm',
      'b200',
      'gb200',
      'hopper',
      'mi300x',
      'gaudi3',
      '10de:25b6',
      'rtx-3060',
      't4',
      'gr100',
    ].map((name): [string, CommandResult] => [name, showNamedGpus(name, input)]),
    ...[
      'nvidia',
      ...[...input.facts.nvidia.branches.keys()].map((number) => `nvidia@${number}`),
      'nvidia@580.142',
      'cuda',
      ...input.facts.runtimes.keys(),
      ...input.layers.map(({ definition }) => `${definition.kind}/${definition.name}`),
    ].map((name): [string, CommandResult] => [name, showSubject(name, input)]),
  ];

  test('fits a hundred columns, and ends its last line', () => {
    for (const [name, { text }] of results()) {
      expect(text.endsWith('\n'), name).toBe(true);
      expect(text, name).not.toMatch(/undefined|\[object|NaN|[^\S\n]\n/);
      const long = text.split('\n').filter((line) => line.length > WIDTH && !line.includes('://'));
      expect(long, name).toEqual([]);
    }
  });

  test('is JSON too', () => {
    for (const [name, { json }] of results()) {
      expect(JSON.parse(JSON.stringify(json)), name).toEqual(json);
    }
  });

  test('nvidia lists every branch, newest first', () => {
    const { json, text } = showSubject('nvidia', input);
    const branches = json['branches'] as { readonly branch: number }[];
    expect(branches.map(({ branch }) => branch)).toEqual([...input.facts.nvidia.branches.keys()].reverse());
    expect(text).toMatch(/^580 +supported until 2028-06 +long-term +13\.0/m);
  });

  test('a branch says which release brought a GPU, and which build fails', () => {
    const { text } = showSubject('nvidia@580', input);
    expect(text).toMatch(/^580\.142 .*RTX PRO 4500 Server.*fails with kernel 7\.1$/m);
    expect(text).toContain(
      'Driver = 580, < 580.173.02 fails with kernel >= 7.1.2, < 7.2: linux/of_gpio.h is gone.',
    );
  });

  test('B200 comes with its floor and its fabric', () => {
    const { text } = showNamedGpus('b200', input);
    expect(text).toContain('HGX B200 needs >= 570.133.20');
    expect(text).toMatch(/nvlsm, module ib_umad/);
    expect(text).toContain('open only');
  });

  test('TGI is archived', () => {
    expect(showSubject('tgi', input).text).toContain(
      'archived since 2026-03-21; take vllm or sglang instead',
    );
  });

  test.each([
    ['nvidia@590.1', 'NVIDIA driver 590'],
    ['trt-llm', 'TensorRT-LLM'],
    ['ssh', 'addon/ssh'],
    ['l40s', 'L40S'],
  ])('%s is found', (name, start) => {
    expect(showSubject(name, input).text.startsWith(start)).toBe(true);
  });

  test.each([
    ['nvidia@581', /nvidia@580/],
    ['vlm', /did you mean vllm/],
    ['h10x', /h100/],
    ['zzzzzz', /ingot catalog zzzzzz/],
  ])('%s is unknown, with a hint', (name, hint) => {
    expect(() => showSubject(name, input)).toThrow(
      expect.objectContaining({ code: 'USAGE', hint: expect.stringMatching(hint) as string }) as Error,
    );
  });

  test('a GPU that is not there is refused with the nearest names', () => {
    expect(() => showNamedGpus('l40x', input)).toThrow(
      expect.objectContaining({ code: 'USAGE', hint: 'did you mean l40, l40s?' }) as Error,
    );
  });
});
