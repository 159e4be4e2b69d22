/** What `plan`, `build`, `disk` and `test` on a declaration begin with: its lock, checked, and the plan of it. */
import { resolve } from 'node:path';

import type { Agent } from '../agent/agent.ts';
import { builderDigest, rootBuilderDigest } from '../build/builder-digest.ts';
import type { Digest } from '../digest.ts';
import { makePlan } from '../plan/make-plan.ts';
import type { Plan } from '../plan/plan.ts';
import { checkLock, requireFresh } from '../resolve/check-lock.ts';
import { describeDownloader, downloadersIn, refuseDownloaders } from '../resolve/downloads.ts';
import type { Lock } from '../resolve/lock.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import { Builder, requireBuildable } from './builder.ts';
import type { CommandContext } from './context.ts';
import { loadCheckedImage } from './load-image.ts';
import { loadLock, lockPathOf } from './load-lock.ts';
import { moduleFacts, moduleKnowledge, patchDigests } from './module-facts.ts';

export interface PreparedPlan {
  readonly spec: ParsedSpec;
  readonly lock: Lock;
  readonly plan: Plan;
  /** Digest over the code that builds. */
  readonly builder: Digest;
  /** The agent that the plan asks for. */
  readonly agent?: Agent;
}

export interface PlanOptions {
  readonly variant?: string | undefined;
  readonly lock?: string | undefined;
  /** Fingerprint of the certificate that kernel modules are to be signed for. */
  readonly signer?: Digest | undefined;
  /** Looks first whether the image can be built at all. */
  readonly toBuild?: boolean;
}

/**
 * @param file the declaration, as the user named it
 * @throws FindingsError for a declaration that does not hold; IngotError LOCK_MISSING, LOCK_STALE, LOCK_INVALID,
 *   ARCHITECTURE_FOREIGN, PACKAGE_DOWNLOADS
 */
export async function preparePlan(
  context: CommandContext,
  file: string,
  options: PlanOptions = {},
): Promise<PreparedPlan> {
  const { cwd, reporter } = context;
  const { parsed: spec, catalog, warnings } = await loadCheckedImage(context, file, options.variant);
  for (const { message } of warnings) reporter.warning(message);
  if (options.toBuild === true) requireBuildable(spec);
  const lockFile = options.lock ?? lockPathOf(file, options.variant);
  const lock = await loadLock(resolve(cwd, lockFile));
  const known = await moduleKnowledge(context, lock);
  const facts = { ...(await new Builder(context).factsFor(spec.image, catalog)), ...patchDigests(known) };
  requireFresh(checkLock(lock, spec.image, catalog, facts), lockFile, file);
  if (options.toBuild === true) refuseDownloaders(lock, spec);
  else for (const one of downloadersIn(lock)) reporter.warning(describeDownloader(one));
  const modules = known === undefined ? undefined : await moduleFacts(lock, known, options.signer);
  const builder = await builderDigest();
  const rootBuilder = await rootBuilderDigest();
  const plan = makePlan({ image: spec.image, lock, catalog, builder, modules, rootBuilder });
  return { spec, lock, plan, builder, ...(facts.agent !== undefined && { agent: facts.agent }) };
}
