/** What every command that moves images needs. */
import type { RegistryAccess } from '../oci/registry/access.ts';
import type { Store } from '../store/store.ts';
import type { CommandContext } from './context.ts';
import { openRegistries, type RegistryOptions } from './registry-options.ts';
import { useStore } from './use-store.ts';

export interface StoreAndRegistries extends AsyncDisposable {
  readonly store: Store;
  readonly registries: RegistryAccess;
}

/** `useStore` and `openRegistries` at once: while a lock of the store is asked for, the other's code is loaded. */
export async function useStoreAndRegistries(
  context: CommandContext,
  options: RegistryOptions,
): Promise<StoreAndRegistries> {
  const [inUse, registries] = await Promise.allSettled([useStore(context), openRegistries(context, options)]);
  await using opened = new AsyncDisposableStack();
  if (inUse.status === 'fulfilled') opened.use(inUse.value);
  if (registries.status === 'fulfilled') opened.use(registries.value);
  if (inUse.status === 'rejected') throw inUse.reason;
  if (registries.status === 'rejected') throw registries.reason;
  const kept = opened.move();
  return {
    store: inUse.value.store,
    registries: registries.value,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
