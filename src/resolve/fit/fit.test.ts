import { describe, expect, it } from 'vitest';

import {
  BY_FACTS,
  FACTS,
  fitOf,
  NO_HMM,
  NOW,
  requestOf,
  rulesOf,
  type ShortRequest,
} from '../../../test/support/fit.ts';
import { findConflicts, relax } from './conflict.ts';
import { explainFit } from './explain.ts';
import { judgeFit } from './fit.ts';
import { makeMatrix } from './matrix.ts';
import type { FitOffers } from './request.ts';
import { RULES } from './rules.ts';
import { isKnownCondition } from './rules/system-rules.ts';

function suggestionsFor(short: ShortRequest): string[] {
  return [
    ...new Set(fitOf(short).findings.flatMap(({ suggestions }) => suggestions.map(({ text }) => text))),
  ];
}

describe('the choice', () => {
  it('is the newest of the supported long-term branch', () => {
    const { chosen } = fitOf({ gpus: ['a30'], driver: 'auto', cuda: 'auto' });
    expect(chosen).toMatchObject({
      driver: { version: '580.178.04', flavour: 'open' },
      cuda: { version: '13.0.2' },
    });
  });

  it('goes to another supported branch only when that one does not do', () => {
    // Named by no release of R580 that was read, and by every one of R595.
    const fit = fitOf({ gpus: ['a30'], driver: 'auto', kernel: '6.12' });
    expect(fit.chosen?.driver?.branch?.branch).toBe(580);
    expect(
      fitOf({ gpus: ['a30'], driver: 'auto' }, undefined, '2028-07-01').chosen?.driver?.branch?.branch,
    ).not.toBe(580);
  });

  it('is never past its end of life, but when it is named, or nothing else is offered', () => {
    expect(rulesOf(fitOf({ gpus: ['a30'], driver: '550' }))).toEqual(['driver-end-of-life']);
    const drivers: FitOffers = {
      drivers: [
        { layer: 'nvidia-open', vendor: 'nvidia', version: '550.163.01' as never, flavours: ['open'] },
      ],
    };
    const fit = fitOf({ gpus: ['a30'], driver: 'auto' }, drivers);
    expect({ version: fit.chosen?.driver?.version, rules: rulesOf(fit) }).toEqual({
      version: '550.163.01',
      rules: ['driver-end-of-life'],
    });
  });

  it('is the newest CUDA that runs without a limit', () => {
    expect(fitOf({ gpus: ['a30'], driver: '570', cuda: 'auto' }).chosen?.cuda?.version).toBe('12.8.1');
    expect(fitOf({ gpus: ['a30'], driver: '595', cuda: 'auto' }).chosen?.cuda?.version).toBe('13.2.2');
  });

  it('of a branch that nobody offers is none, and says what is offered', () => {
    const drivers: FitOffers = {
      drivers: [
        { layer: 'nvidia-open', vendor: 'nvidia', version: '550.163.01' as never, flavours: ['open'] },
      ],
    };
    const fit = fitOf({ gpus: ['a30'], driver: '580' }, drivers);
    expect(fit.findings).toMatchObject([
      {
        rule: 'offered',
        message: 'no source offers the NVIDIA driver 580; offered: 550.163.01 (nearest: 550)',
        path: ['driver', 'version'],
      },
    ]);
    expect(
      explainFit(requestOf({ gpus: ['a30'], driver: '580' }), { facts: FACTS, now: NOW, offers: drivers })
        .byFacts,
    ).toBe('driver 580.178.04');
  });
});

describe('a refusal', () => {
  it('names the smallest set that cannot be together, and nothing beside it', () => {
    const request = requestOf({
      gpus: ['l4', 'v100', 'a10'],
      driver: '580',
      cuda: '13.0',
      runtimes: ['pytorch@2.6'],
    });
    const conflicts = findConflicts(request, BY_FACTS);
    expect(conflicts[0]?.elements).toEqual([{ kind: 'gpu', index: 1 }, { kind: 'cuda' }]);
  });

  it('is a conflict of which no part can be left out', () => {
    const request = requestOf({ gpus: ['b200'], driver: '550', cuda: '12.4', runtimes: ['vllm@0.20'] });
    for (const { elements } of findConflicts(request, BY_FACTS)) {
      const others = findConflicts(request, BY_FACTS).flatMap((conflict) => conflict.elements);
      const alone = relax(
        { ...request, assumed: ['fabric-manager', 'nvlsm'] },
        others.filter((one) => !elements.includes(one)),
      );
      for (const element of elements) {
        const less = judgeFit(relax(alone, [element]), BY_FACTS);
        expect({ element, verdict: less.verdict }).not.toEqual({ element, verdict: 'refused' });
      }
    }
  });

  it('says everything at once', () => {
    const fit = fitOf({ gpus: ['b200'], driver: '550', cuda: '12.4' });
    expect(rulesOf(fit)).toEqual(['cuda-architecture', 'driver-architecture', 'fabric-components']);
  });

  it('names facts with their sources', () => {
    const [finding] = fitOf({ gpus: ['v100'], driver: '580', cuda: '13.0' }).findings;
    expect(finding?.rows[0]?.location.file).toMatch(/drivers\/nvidia\/architectures\.yaml$/);
    expect(finding?.rows[0]?.sources.length).toBeGreaterThan(0);
  });
});

describe('suggestions', () => {
  it('begin with the change that brings the fewest limits', () => {
    expect(suggestionsFor({ gpus: ['a30'], driver: '565', cuda: '13.2' })).toEqual([
      'driver: nvidia@595',
      'cuda: "12.6"',
      'driver: auto',
      'cuda: leave it out',
    ]);
  });

  it('offer the compatibility package where it helps', () => {
    expect(suggestionsFor({ gpus: ['a30'], driver: '535', cuda: '13.2' })).toContain(
      'cuda: {version: "13.2", compat: true}',
    );
    expect(suggestionsFor({ gpus: ['rtx-4090'], driver: '535', cuda: '13.2' }).join()).not.toContain(
      'compat',
    );
  });

  it('join what must be changed together', () => {
    expect(suggestionsFor({ gpus: ['b200'], driver: '550', cuda: '12.4' })[0]).toBe(
      'addons: add fabric-manager and nvlsm and cuda: "12.8" and driver: nvidia@580',
    );
  });

  it('name only addons that the catalogue has', () => {
    const offers: FitOffers = { addons: [{ layer: 'nvidia-fabric-manager' }, { layer: 'nvlsm' }] };
    const texts = fitOf({ gpus: ['b200'], driver: '580' }, offers).findings.flatMap(({ suggestions }) =>
      suggestions.map(({ text }) => text),
    );
    expect(texts[0]).toBe('addons: add nvidia-fabric-manager and nvlsm');
    const none = fitOf({ gpus: ['b200'], driver: '580' }, { addons: [] }).findings;
    expect(none.flatMap(({ suggestions }) => suggestions.map(({ text }) => text))).toEqual([
      'gpus: without b200',
    ]);
  });
});

describe('bad input', () => {
  it.each<[string, ShortRequest, string]>([
    ['a GPU', { gpus: ['h10o'], driver: '580' }, 'the facts know no GPU "h10o" (nearest: h100'],
    [
      'a driver',
      { gpus: ['a30'], driver: 'auto', use: 'nvidai' },
      'there is no driver "nvidai" (nearest: nvidia',
    ],
    ['a branch', { gpus: ['a30'], driver: '615' }, 'no release 615 of the NVIDIA driver is known'],
    ['a branch that never was', { gpus: ['a30'], driver: '581' }, 'there is no NVIDIA driver 581'],
    [
      'a CUDA',
      { gpus: ['a30'], driver: '580', cuda: '13.9' },
      'there is no CUDA 13.9 that is known (nearest: 13.4, 13.3, 13.2)',
    ],
    [
      'a runtime',
      { gpus: ['a30'], driver: '580', runtimes: ['vlm'] },
      'the facts know no runtime "vlm" (nearest: vllm)',
    ],
    ['a kernel', { driver: '580', kernel: 'six' }, 'six is no version of Linux'],
  ])('%s that there is not is named with what is like it', (_name, short, message) => {
    const fit = fitOf(short);
    expect(fit.verdict).toBe('refused');
    expect(fit.findings[0]?.message).toContain(message);
    expect(fit.findings[0]?.rule).toBe('unknown');
  });

  it('a contradiction is refused: modules that a branch does not have', () => {
    const fit = fitOf({ gpus: ['a30'], driver: '470', modules: 'open' });
    expect(fit.findings).toMatchObject([{ rule: 'offered', path: ['driver', 'modules'] }]);
  });
});

describe('an explanation', () => {
  const request = requestOf({
    gpus: ['a30'],
    driver: 'auto',
    cuda: 'auto',
    runtimes: ['vllm'],
    kernelArguments: [NO_HMM],
  });
  const { choices, fit } = explainFit(request, BY_FACTS);

  it('has every choice with reasons', () => {
    expect(choices.map(({ topic, name, value }) => [topic, name, value.split(',')[0]])).toEqual([
      ['gpus', 'a30', 'A30'],
      ['driver', 'driver', '580.178.04'],
      ['modules', 'modules', 'open'],
      ['cuda', 'cuda', '13.0.2'],
      ['runtime', 'vllm', '0.33.0'],
    ]);
    expect(choices[1]?.reasons).toContain(
      'R580 is a long-term branch, supported until 2028-06: such a branch is preferred',
    );
    expect(fit.verdict).toBe('ok');
  });

  it('judges what else there was', () => {
    const drivers = new Map(choices[1]?.alternatives.map(({ value, verdict }) => [value, verdict]));
    expect(drivers.get('R595')).toBe('ok');
    expect(drivers.get('R550')).toBe('warning');
    const blackwell = explainFit(requestOf({ gpus: ['rtx-5090'], driver: 'auto' }), BY_FACTS);
    const old = blackwell.choices[1]?.alternatives.find(({ value }) => value === 'R550');
    expect(old).toMatchObject({ verdict: 'refused', reasons: [expect.stringContaining('Blackwell')] });
    const cudas = new Map(choices[3]?.alternatives.map(({ value, reasons }) => [value, reasons.join()]));
    expect(cudas.get('13.2')).toContain('minor version compatibility');
    expect(cudas.get('12.9')).not.toContain('minor version compatibility');
  });

  it('says what a runtime is built for on the GPUs there are', () => {
    const reasonsOn = (gpu: string): readonly string[] => {
      const own = explainFit(
        requestOf({ gpus: [gpu], driver: 'auto', use: 'auto', runtimes: ['vllm'] }),
        BY_FACTS,
      );
      return own.choices.find(({ topic }) => topic === 'runtime')?.reasons ?? [];
    };
    expect(reasonsOn('a30')).toContain('built for CUDA 13.0');
    const radeon = reasonsOn('mi300x').join();
    expect(radeon).toContain('built for ROCm');
    expect(radeon).not.toContain('CUDA');
  });
});

describe('the matrix', () => {
  const matrix = makeMatrix(
    requestOf({ gpus: ['v100', 'b200'], driver: 'auto', runtimes: ['vllm@0.20'] }),
    BY_FACTS,
  );

  function cell(gpu: number, driver: string, column: string): unknown {
    const row = matrix.tables[gpu]?.rows.find((one) => one.driver.startsWith(driver));
    const { verdict, rule } = row?.cells[matrix.columns.indexOf(column)] ?? {};
    return rule === undefined ? verdict : `${verdict ?? ''} ${rule}`;
  }

  it('has a table for each GPU, a row for each branch, a column for each CUDA and runtime', () => {
    expect(matrix.tables.map(({ gpu }) => gpu)).toEqual(['v100', 'b200']);
    expect(matrix.columns.slice(0, 2)).toEqual(['vllm 0.20', 'CUDA 13.4']);
    expect(cell(0, '580', 'CUDA 12.9')).toBe('yes');
    expect(cell(0, '580', 'CUDA 13.0')).toBe('no cuda-architecture');
    expect(cell(0, '580', 'vllm 0.20')).toBe('no runtime-capability');
    expect(cell(1, '580', 'vllm 0.20')).toBe('yes');
    expect(cell(1, '580', 'CUDA 13.2')).toBe('limit cuda-driver');
    expect(cell(1, '565', 'CUDA 12.8')).toBe('no driver-architecture');
  });

  it('names the rules that it refers to', () => {
    const named = matrix.tables.flatMap(({ rows }) =>
      rows.flatMap(({ cells }) => cells.flatMap(({ rule }) => rule ?? [])),
    );
    expect(new Set(named)).toEqual(new Set(matrix.rules.map(({ id }) => id)));
  });
});

describe('the table of rules', () => {
  it('has stable names and one statement for each', () => {
    const statements = new Map<string, string>();
    for (const { id, statement } of RULES) {
      expect(id).toMatch(/^[a-z]+(?:-[a-z]+)*$/);
      expect(statement).toMatch(/^[A-Z].*\.$/);
      expect(statements.get(id) ?? statement).toBe(statement);
      statements.set(id, statement);
    }
  });

  it('knows every condition that the facts name and a declaration can show', () => {
    const conditions = FACTS.nvidia.issues.flatMap(({ when }) => when.condition ?? []);
    expect(conditions.filter((condition) => !isKnownCondition(condition))).toEqual([
      'DOCA OFED and NVLink 5',
    ]);
  });
});
