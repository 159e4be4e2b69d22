/** The store, held in use for as long as a command works with it. */
import { sweepAbandoned } from '../store/collect.ts';
import { Store } from '../store/store.ts';
import type { CommandContext } from './context.ts';

export interface StoreInUse extends AsyncDisposable {
  readonly store: Store;
}

/**
 * Opens the store and keeps `gc` out of it until disposed; a `gc` that is running is waited for, and that is said.
 * What builds that were killed have left goes first. May be nested.
 */
export async function useStore({
  storePath,
  reporter,
  signal,
}: Pick<CommandContext, 'storePath' | 'reporter' | 'signal'>): Promise<StoreInUse> {
  const store = await Store.open(storePath);
  await sweepAbandoned(store, signal);
  const use = await store.use(signal, () => {
    reporter.info('waiting for `ingot store gc`');
  });
  return { store, [Symbol.asyncDispose]: () => use[Symbol.asyncDispose]() };
}
