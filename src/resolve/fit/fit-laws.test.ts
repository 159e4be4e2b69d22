/** Laws that hold for any declaration, on ten thousand random ones. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { BY_FACTS, FACTS, NOW, randomRequest } from '../../../test/support/fit.ts';
import { judgeFit, type Fit } from './fit.ts';
import { accepts, search } from './search.ts';
import { poseProblem } from './problem.ts';
import type { FitContext, FitRequest } from './request.ts';

/** Seeds differ, so that the runs are of different declarations. */
const RUNS = [1, 2, 3, 4].map((seed) => ({ seed, numRuns: 2500 }));
const TIMEOUT = 600_000;

const BY_OFFERS: FitContext = { facts: FACTS, now: NOW, offers: offersOfFacts() };

/** As a catalogue would offer them: a few of everything, drivers by two layers. */
function offersOfFacts(): NonNullable<FitContext['offers']> {
  const { branches, toolkits } = FACTS.nvidia;
  return {
    drivers: [...branches.values()].flatMap(({ newest, flavours }) =>
      newest === undefined
        ? []
        : flavours.map((flavour) => ({
            layer: `nvidia-${flavour}`,
            vendor: 'nvidia' as const,
            version: newest,
            flavours: [flavour],
            packageVersion: `${newest}-2`,
          })),
    ),
    kernels: ['6.12.94', '6.12.107', '7.0'].map((version) => ({
      layer: 'generic',
      version: version as never,
    })),
    cuda: [...toolkits.keys()]
      .filter((_, index) => index % 3 === 0)
      .map((version) => ({ layer: 'runtime', version })),
    runtimes: [...FACTS.runtimes.values()].flatMap(({ name, releases }) =>
      releases.map(({ version }, index) => ({
        layer: name,
        runtime: name,
        version,
        selfContained: index % 2 === 0,
      })),
    ),
    addons: ['fabric-manager', 'nvlsm', 'container-toolkit', 'nvidia-fs'].map((layer) => ({ layer })),
  };
}

/** What a person is told, without what only names places. */
function told({ verdict, chosen, findings }: Fit): unknown {
  return {
    verdict,
    driver: [chosen?.driver?.version, chosen?.driver?.flavour],
    kernel: chosen?.kernel?.version,
    cuda: chosen?.cuda?.version,
    runtimes: chosen?.runtimes.map(({ name, version, cuda }) => [name, version, cuda]),
    findings: findings.map(({ rule, message, suggestions }) => [
      rule,
      message,
      suggestions.map(({ text }) => text),
    ]),
  };
}

/** The choice, which is what the order of lists could change; messages name the first of several. */
function choiceOf(request: FitRequest, context: FitContext): unknown {
  const { chosen } = search(poseProblem(request, context));
  if (chosen === undefined) return undefined;
  const runtimes = chosen.runtimes.map(({ name, version, cuda, layer }) =>
    [name, version, cuda, layer].join(' '),
  );
  return [
    chosen.driver?.version,
    chosen.driver?.flavour,
    chosen.kernel?.version,
    chosen.cuda?.version,
    ...runtimes.sort(),
  ];
}

function reversed(request: FitRequest): FitRequest {
  return {
    ...request,
    gpus: request.gpus.toReversed(),
    runtimes: request.runtimes.toReversed(),
    addons: request.addons.toReversed(),
    kernelArguments: request.kernelArguments.toReversed(),
    mig: request.mig.map((ask) => ({ ...ask, gpu: request.gpus.length - 1 - ask.gpu })).toReversed(),
  };
}

function reversedOffers({ facts, now, offers = {} }: FitContext): FitContext {
  const { drivers = [], kernels = [], cuda = [], runtimes = [], addons = [] } = offers;
  return {
    facts,
    now,
    offers: {
      drivers: drivers.toReversed(),
      kernels: kernels.toReversed(),
      cuda: cuda.toReversed(),
      runtimes: runtimes.toReversed(),
      addons: addons.toReversed(),
    },
  };
}

describe.each(RUNS)('2500 random declarations, seed $seed', ({ seed, numRuns }) => {
  it('are answered, with changes that are accepted themselves', { timeout: TIMEOUT }, () => {
    fc.assert(
      fc.property(randomRequest, (request) => {
        const { verdict, findings, chosen } = judgeFit(request, BY_FACTS);
        expect(verdict === 'refused').toBe(chosen === undefined);
        expect(verdict === 'ok').toBe(findings.length === 0);
        expect(verdict === 'refused').toBe(findings.some(({ severity }) => severity === 'error'));
        for (const { suggestions } of findings) {
          for (const suggestion of suggestions) {
            expect({
              ...suggestion,
              accepted: accepts(poseProblem(suggestion.request, BY_FACTS)),
            }).toMatchObject({
              accepted: true,
            });
          }
        }
      }),
      { seed, numRuns },
    );
  });

  it('are answered alike in any order of lists', { timeout: TIMEOUT }, () => {
    const other = reversedOffers(BY_OFFERS);
    fc.assert(
      fc.property(randomRequest, (request) => {
        expect(choiceOf(reversed(request), BY_FACTS)).toEqual(choiceOf(request, BY_FACTS));
        expect(choiceOf(request, other)).toEqual(choiceOf(request, BY_OFFERS));
      }),
      { seed, numRuns },
    );
  });
});

describe('an answer', () => {
  it('is the same twice, with nothing remembered', { timeout: TIMEOUT }, () => {
    fc.assert(
      fc.property(randomRequest, fc.boolean(), (request, byFacts) => {
        const context = byFacts ? BY_FACTS : BY_OFFERS;
        expect(told(judgeFit(request, { ...context }))).toEqual(told(judgeFit(request, context)));
      }),
      { seed: 5, numRuns: 400 },
    );
  });

  it('by what sources offer is never more than what the facts allow', { timeout: TIMEOUT }, () => {
    fc.assert(
      fc.property(randomRequest, (request) => {
        const { verdict, findings } = judgeFit(request, BY_OFFERS);
        for (const { suggestions } of findings) {
          for (const suggestion of suggestions)
            expect(accepts(poseProblem(suggestion.request, BY_OFFERS))).toBe(true);
        }
        expect(['ok', 'warning', 'refused']).toContain(verdict);
      }),
      { seed: 6, numRuns: 400 },
    );
  });
});
