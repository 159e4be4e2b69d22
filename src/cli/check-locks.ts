/** `ingot lock --check`: whether locks still hold. */
import { resolve } from 'node:path';

import type { LoadedCatalog } from '../catalog/load.ts';
import { FindingsError, IngotError } from '../errors.ts';
import { checkLock, type StaleReason } from '../resolve/check-lock.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import { Builder } from './builder.ts';
import type { CommandContext, CommandResult } from './context.ts';
import { loadLock } from './load-lock.ts';
import { moduleKnowledge, patchDigests } from './module-facts.ts';

/** One lock to make or to check. */
export interface LockJob {
  readonly spec: ParsedSpec;
  /** As the user will find it: relative to where the command runs, when the declaration was. */
  readonly path: string;
}

/** Looks at declaration, catalogue and builder alone: needs no network. */
export async function checkLocks(
  context: CommandContext,
  catalog: LoadedCatalog,
  jobs: readonly LockJob[],
): Promise<CommandResult> {
  const builder = new Builder(context);
  const checked = await Promise.all(
    jobs.map(async ({ spec, path }) => {
      const reasons = await staleReasons(context, catalog, builder, spec, path);
      const { file } = spec;
      return { file, lock: path, fresh: reasons.length === 0, reasons };
    }),
  );
  const text = checked.map(({ file, lock, fresh, reasons }) =>
    fresh
      ? `${lock}: fresh\n`
      : [
          `${lock}: stale`,
          ...reasons.map(({ message }) => `  ${message}`),
          `  mend it with: ingot lock ${file}`,
          '',
        ].join('\n'),
  );
  const exitCode = checked.every(({ fresh }) => fresh) ? 0 : 1;
  return { json: { locks: checked }, text: text.join(''), exitCode };
}

async function staleReasons(
  context: CommandContext,
  catalog: LoadedCatalog,
  builder: Builder,
  spec: ParsedSpec,
  path: string,
): Promise<
  readonly { readonly what: StaleReason['what'] | 'missing' | 'invalid'; readonly message: string }[]
> {
  try {
    const lock = await loadLock(resolve(context.cwd, path));
    const facts = await moduleKnowledge(context, lock);
    const built = { ...(await builder.factsFor(spec.image, catalog)), ...patchDigests(facts) };
    return checkLock(lock, spec.image, catalog, built);
  } catch (error) {
    if (error instanceof FindingsError) return [{ what: 'invalid', message: error.message }];
    if (error instanceof IngotError && error.code === 'LOCK_MISSING') {
      return [{ what: 'missing', message: error.message }];
    }
    throw error;
  }
}
