/** What a plan of kernel modules takes besides the lock: patches, what is known of the pair, the code that builds. */
import { moduleBuilderDigests } from '../build/builder-digest.ts';
import type { Facts, KernelReport } from '../catalog/facts/types.ts';
import type { Digest } from '../digest.ts';
import type { ModuleFacts } from '../plan/plan-modules.ts';
import type { BuilderFacts } from '../resolve/check-lock.ts';
import type { Lock } from '../resolve/lock.ts';
import { reportsOn, type ModulePair } from '../resolve/module-reports.ts';
import type { CommandContext } from './context.ts';
import { openFacts } from './judge-image.ts';

/** The facts, for a lock that has kernel modules. */
export async function moduleKnowledge(
  context: Pick<CommandContext, 'productRoot'>,
  { modules }: Pick<Lock, 'modules'>,
): Promise<Facts | undefined> {
  return modules === undefined ? undefined : openFacts(context);
}

/** What a lock's patches are held against. */
export function patchDigests(facts: Pick<Facts, 'patches'> | undefined): Pick<BuilderFacts, 'patches'> {
  if (facts === undefined) return {};
  return { patches: new Map([...facts.patches.values()].map(({ name, sha256 }) => [name, sha256])) };
}

export async function moduleFacts(lock: Lock, facts: Facts, signer?: Digest): Promise<ModuleFacts> {
  const known = (lock.modules ?? []).map(({ layer, source, flavour }) => {
    const pair = { ...pairOf(lock, layer, source.version), flavour };
    return [layer, reportsOn(facts, pair).map(describeReport)] as const;
  });
  return {
    ...(await moduleBuilderDigests()),
    patches: new Map([...facts.patches.values()].map(({ name, text }) => [name, text])),
    known: new Map(known),
    signer,
  };
}

function pairOf({ base, kernel, driver }: Lock, layer: string, packageVersion: string): ModulePair {
  const isDriver = driver?.layer === layer;
  return {
    component: isDriver ? 'driver' : layer.replace(/^[a-z]+-/, ''),
    ...(isDriver && driver.version !== undefined && { version: driver.version }),
    packageVersion,
    distribution: `${base.name}@${base.release}`,
    kernelVersion: kernel.version,
  };
}

function describeReport({ result, kernel, symptom, patch, fixedBy, sources }: KernelReport): string {
  const parts = [
    `${result} on Linux ${kernel.text}`,
    ...(symptom === undefined ? [] : [symptom]),
    ...(patch === undefined ? [] : [`builds with the patch ${patch}`]),
    ...(fixedBy === undefined ? [] : [`fixed by ${fixedBy}`]),
  ];
  return `${parts.join('; ')} (${sources.map(({ title }) => title).join('; ')})`;
}
