/** A change to a request: what to write, and the request as it would be then. */
import type { DriverAsk, Element, FitRequest, MigAsk, RuntimeAsk } from './request.ts';

export interface Change {
  /** What to write, as in `driver: nvidia@580`. */
  readonly text: string;
  /** Changes of one kind are alternatives; the first that is accepted is shown. */
  readonly kind: string;
  /** The least that is changed comes first. */
  readonly cost: number;
  readonly elements: readonly Element[];
  readonly apply: (request: FitRequest) => FitRequest;
}

const COST = {
  name: 0,
  add: 1,
  modules: 2,
  version: 3,
  compat: 4,
  cuda: 5,
  runtime: 6,
  kernel: 7,
  other: 8,
  leave: 9,
};

/** From this cost on something is given up. */
export const LAST_RESORT = COST.leave;

export function change(
  kind: keyof typeof COST,
  text: string,
  elements: readonly Element[],
  apply: Change['apply'],
  variety = '',
): Change {
  return { kind: `${kind} ${variety}`, cost: COST[kind], text, elements, apply };
}

export function nameOfRuntime({ use, version }: RuntimeAsk): string {
  return version === undefined ? use : `${use}@${version}`;
}

export function withGpu(index: number, name: string): Change['apply'] {
  return (one) => ({ ...one, gpus: one.gpus.with(index, name) });
}

export function withMig(index: number, next: Partial<MigAsk>): Change['apply'] {
  return (one) => {
    const old = one.mig[index];
    return old === undefined ? one : { ...one, mig: one.mig.with(index, { ...old, ...next }) };
  };
}

/** What it must be able to do stays, unless the next one says otherwise. */
export function withRuntime(index: number, next: RuntimeAsk): Change['apply'] {
  return (one) => {
    const { features } = one.runtimes[index] ?? {};
    const kept = { ...(features !== undefined && { features }), ...next };
    return { ...one, runtimes: one.runtimes.with(index, kept) };
  };
}

export function withDriver(
  next: Partial<DriverAsk>,
  gone: readonly (keyof DriverAsk)[] = [],
): Change['apply'] {
  return (one) => {
    const old: DriverAsk = one.driver ?? { use: 'nvidia', modules: 'auto' };
    const kept = Object.fromEntries(
      Object.entries(old).filter(([key]) => !gone.some((left) => left === key)),
    );
    return { ...one, driver: { use: old.use, modules: old.modules, ...kept, ...next } };
  };
}
