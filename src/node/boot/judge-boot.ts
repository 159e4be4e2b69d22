/**
 * What a start that passed its gate means: whether what runs is now known to be good, or an update is over because GRUB
 * has gone back from it. Pure.
 *
 * GRUB starts the first entry. While its id is not `good_id`, each start takes a try, and with none left `tries` is 0
 * and the system that is known to be good starts (layers/base/debian/grub-mkconfig). What a person chooses in the menu
 * is none of this, and is left alone.
 */
import type { GrubEnvironment } from './grub-environment.ts';

/** Keys of GRUB's environment that are ours. */
export const ENVIRONMENT_KEYS = ['good_id', 'try_id', 'tries'] as const;

/** An entry of the boot menu. */
export interface MenuEntry {
  /** `ingot.id`; undefined for one that nobody gave one. */
  readonly bootId: string | undefined;
  readonly isBooted: boolean;
}

/** Why GRUB did not start the first entry: `ingot.back` on the kernel command line. */
export const BACK_REASONS = ['tries', 'unloadable', 'environment'] as const;
export type BackReason = (typeof BACK_REASONS)[number];

export interface BootFacts {
  /** In the order of the menu; what is only staged is not in it. */
  readonly entries: readonly MenuEntry[];
  /** Undefined when it cannot be read. */
  readonly environment: GrubEnvironment | undefined;
  readonly back?: BackReason | undefined;
}

export type BootVerdict =
  /** It is known to be good already. `isTidy`: and nothing of an earlier update is left in the environment. */
  | { readonly kind: 'known'; readonly id: string; readonly isTidy: boolean }
  /** It runs on trial, or for the first time: from now on it is known to be good. */
  | { readonly kind: 'good'; readonly id: string }
  /** GRUB has gone back from the first entry for good. */
  | { readonly kind: 'back'; readonly badId: string; readonly reason: BackReason }
  /** GRUB could not count, so it started what ran before; the environment must be written anew. */
  | { readonly kind: 'uncounted'; readonly id: string | undefined }
  /** Something else than the first entry, which a person chose, or for which GRUB had no other. */
  | { readonly kind: 'other' }
  /** It has no id, so GRUB knows no name for it and counts nothing. */
  | { readonly kind: 'nameless' };

export function judgeBoot({ entries, environment, back }: BootFacts): BootVerdict {
  const own = entries.find(({ isBooted }) => isBooted);
  const [first] = entries;
  if (first === undefined || own === undefined) return { kind: 'other' };
  const good = environment?.get('good_id');
  if (own === first) {
    const id = own.bootId;
    if (id === undefined) return { kind: 'nameless' };
    if (id !== good) return { kind: 'good', id };
    return { kind: 'known', id, isTidy: !environment?.has('try_id') && !environment?.has('tries') };
  }
  if (environment === undefined || back === 'environment') return { kind: 'uncounted', id: own.bootId };
  const badId = first.bootId;
  if (badId === undefined || badId === good || environment.get('try_id') !== badId) return { kind: 'other' };
  if (environment.get('tries') !== '0') return { kind: 'other' };
  return { kind: 'back', badId, reason: back ?? 'tries' };
}

/**
 * The environment that goes with a verdict, once everything else that it asks for is done.
 *
 * @param entries of the menu as it is then
 */
export function nextEnvironment(
  verdict: BootVerdict,
  entries: readonly MenuEntry[],
  before: GrubEnvironment | undefined,
): GrubEnvironment | undefined {
  const good = before?.get('good_id');
  const others = [...(before ?? [])].filter(
    ([key]) => !(ENVIRONMENT_KEYS as readonly string[]).includes(key),
  );
  const settled = (id: string | undefined): GrubEnvironment =>
    new Map([...(id === undefined ? [] : [['good_id', id] as const]), ...others]);
  switch (verdict.kind) {
    case 'good':
      return settled(verdict.id);
    case 'known':
      return verdict.isTidy ? undefined : settled(verdict.id);
    case 'uncounted':
      // What is known to be good stays so; it may not be what runs.
      return settled(good !== undefined && entries.some(({ bootId }) => bootId === good) ? good : verdict.id);
    case 'back': {
      // What is first now starts without a count only when it is the good one.
      const [first] = entries;
      const own = entries.find(({ isBooted }) => isBooted);
      return settled(first?.bootId !== undefined && first.bootId === good ? good : (own?.bootId ?? good));
    }
    case 'other':
    case 'nameless':
      return undefined;
  }
}

/** How the running system stands, for `ingot node status`. */
export interface BootState {
  /** Of what runs. */
  readonly id?: string;
  /** It passed its gate, now or in an earlier start, and GRUB knows. */
  readonly blessed: boolean;
  /** What GRUB goes back to. */
  readonly good?: string;
  /** GRUB counts the starts of the first entry, and it had so many left when it was started last. */
  readonly tries?: number;
  /** Of the first entry, where that is not what runs. */
  readonly next?: string;
  /** Why GRUB started this and not the first entry. */
  readonly back?: BackReason;
}

export function describeBoot({ entries, environment, back }: BootFacts): BootState {
  const own = entries.find(({ isBooted }) => isBooted);
  const [first] = entries;
  const [id, good, next] = [own?.bootId, environment?.get('good_id'), first?.bootId];
  const tries = environment?.get('tries');
  const isCounted =
    next !== undefined && next !== good && environment?.get('try_id') === next && /^\d$/.test(tries ?? '');
  return {
    ...(id !== undefined && { id }),
    blessed: id !== undefined && id === good,
    ...(good !== undefined && { good }),
    ...(isCounted && { tries: Number(tries) }),
    ...(own !== first && next !== undefined && { next }),
    ...(back !== undefined && { back }),
  };
}

/** Whether what runs is first, not known to be good, and something else is. */
export function isOnTrial({ id, blessed, good, next }: BootState): boolean {
  return id !== undefined && !blessed && good !== undefined && next === undefined;
}

/** What GRUB put on the kernel command line. */
export function parseBackReason(commandLine: string): BackReason | undefined {
  const word = /(?:^|\s)ingot\.back=(\S+)/.exec(commandLine)?.[1];
  return BACK_REASONS.find((reason) => reason === word);
}
