/**
 * Releases of a runtime, and the artefacts of each: the newest release first, and of one its default artefact. An
 * artefact besides the default one has to be asked for, by naming the image's CUDA.
 */
import { runtimeRelease } from '../../catalog/facts/lookup.ts';
import type { Runtime, RuntimeRelease } from '../../catalog/facts/types.ts';
import {
  compareVersions,
  isSoftwareVersion,
  type CudaVersion,
  type SoftwareVersion,
} from '../../catalog/facts/versions.ts';
import { nearest } from '../../spec/suggest.ts';
import { nearestVersions, startsWithVersion, type Found, type Named } from './found.ts';
import { Memory } from './memory.ts';
import type { Element, RuntimeAsk, RuntimeOffer } from './request.ts';
import type { RuntimeCandidate } from './rule.ts';

const memory = new Memory<Found<RuntimeCandidate>>();

export function runtimeCandidates(ask: RuntimeAsk, position: number, named: Named): Found<RuntimeCandidate> {
  const question = [ask, position, named.request.cuda !== undefined];
  return memory.recall(named.context, question, () => findRuntimes(ask, position, named));
}

function findRuntimes(ask: RuntimeAsk, position: number, named: Named): Found<RuntimeCandidate> {
  const { index, context } = named;
  const about: readonly Element[] = [{ kind: 'runtime', index: position }];
  const offers = context.offers?.runtimes;
  const runtime =
    index.runtimes.get(ask.use) ??
    index.runtimes.get(offers?.find(({ layer }) => layer === ask.use)?.runtime ?? '');
  if (offers !== undefined) {
    const ofName = offers.filter(
      ({ layer, runtime: name }) => layer === ask.use || name === (runtime?.name ?? ask.use),
    );
    const matching = ofName.filter(
      ({ version }) => ask.version === undefined || admits(ask.version, version),
    );
    if (matching.length > 0) {
      const all = sorted(matching.flatMap((offer) => ofOffer(offer, position, runtime)));
      return { candidates: askedFor(all, named) };
    }
    const versions = ofName.map(({ version }) => version).sort(compareVersions);
    const message =
      ofName.length === 0
        ? `no source offers the runtime ${ask.use}`
        : `no source offers ${ask.use} ${ask.version ?? ''}; offered: ${versions.join(', ')}`;
    const near = ask.version === undefined ? [] : nearestVersions(ask.version, versions);
    return { candidates: [], gap: { rule: 'offered', message, about, near } };
  }
  if (runtime === undefined) {
    const near = nearest(ask.use, index.runtimes.keys());
    const message = `the facts know no runtime ${JSON.stringify(ask.use)}`;
    return { candidates: [], gap: { rule: 'unknown', message, about, near } };
  }
  const found = ofFacts(runtime, ask.version, position, about);
  return { ...found, candidates: askedFor(found.candidates, named) };
}

function askedFor(candidates: readonly RuntimeCandidate[], { request }: Named): readonly RuntimeCandidate[] {
  return request.cuda === undefined ? candidates.filter(({ isDefault }) => isDefault) : candidates;
}

function ofFacts(
  runtime: Runtime,
  asked: string | undefined,
  index: number,
  about: readonly Element[],
): Found<RuntimeCandidate> {
  const base = { index, name: runtime.name, runtime, selfContained: false };
  const matching = runtime.releases.filter(
    ({ version }) => asked === undefined || startsWithVersion(version, asked),
  );
  if (matching.length > 0) {
    return {
      candidates: sorted(
        matching.flatMap((release) => artefacts({ ...base, version: release.version, release })),
      ),
    };
  }
  if (asked === undefined) return { candidates: [{ ...base, isDefault: true }] };
  if (!isSoftwareVersion(asked)) {
    const message = `${runtime.name} has no version ${asked} that is known`;
    const near = nearest(
      asked,
      runtime.releases.map(({ version }) => version),
    );
    return { candidates: [], gap: { rule: 'unknown', message, about, near } };
  }
  const release = runtimeRelease(runtime, asked)?.release;
  return { candidates: artefacts({ ...base, version: asked, ...(release !== undefined && { release }) }) };
}

function ofOffer(offer: RuntimeOffer, index: number, runtime: Runtime | undefined): RuntimeCandidate[] {
  const { layer, version, selfContained, cuda } = offer;
  const release = runtime === undefined ? undefined : runtimeRelease(runtime, version)?.release;
  const base = {
    index,
    name: runtime?.name ?? offer.runtime,
    version,
    selfContained,
    layer,
    ...(runtime !== undefined && { runtime }),
    ...(release !== undefined && { release }),
  };
  if (cuda === undefined) return artefacts(base);
  return [{ ...base, isDefault: true, ...(cuda !== null && { cuda }) }];
}

type Base = Omit<RuntimeCandidate, 'cuda' | 'isDefault'> & { readonly release?: RuntimeRelease };

function artefacts(base: Base): RuntimeCandidate[] {
  const { cuda, alsoCuda = [] } = base.release ?? {};
  const all: CudaVersion[] = [...new Set([...(cuda === undefined ? [] : [cuda]), ...alsoCuda])];
  if (all.length === 0) return [{ ...base, isDefault: true }];
  return all.map((one, index) => ({
    ...base,
    cuda: one,
    isDefault: cuda === undefined ? index === 0 : one === cuda,
  }));
}

/** An offer may name no more than the start of its version. */
function admits(asked: string, version: SoftwareVersion): boolean {
  return startsWithVersion(version, asked) || startsWithVersion(asked, version);
}

function sorted(candidates: readonly RuntimeCandidate[]): RuntimeCandidate[] {
  return candidates.toSorted(
    (a, b) =>
      // For a GPU rather than without one: what is for the CPU alone is only offered beside it.
      Number(a.cuda === undefined) - Number(b.cuda === undefined) ||
      newerFirst(a.version, b.version) ||
      Number(b.isDefault) - Number(a.isDefault) ||
      newerFirst(a.cuda, b.cuda) ||
      ((a.layer ?? '') < (b.layer ?? '') ? -1 : 1),
  );
}

function newerFirst<V extends SoftwareVersion | CudaVersion>(a: V | undefined, b: V | undefined): number {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  return compareVersions(b, a);
}
