/** What moved between two locks. Pure. */
import type { LockedPackage } from '../packages/package.ts';
import type { Lock } from './lock.ts';

export interface PackageChange {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

export interface LockChanges {
  readonly added: readonly { readonly name: string; readonly version: string }[];
  readonly removed: readonly { readonly name: string; readonly version: string }[];
  /** Another version, or the same version with other content. */
  readonly changed: readonly PackageChange[];
}

/** Changes of the image's own packages, in name order. Against nothing, everything is added. */
export function compareLocks(before: Lock | undefined, after: Lock): LockChanges {
  return comparePackages(imagePackages(before), imagePackages(after));
}

/** The same of the tools root. */
export function compareTools(before: Lock | undefined, after: Lock): LockChanges {
  return comparePackages(before?.tools.packages ?? [], after.tools.packages);
}

export function imagePackages(lock: Lock | undefined): readonly LockedPackage[] {
  return (lock?.layers ?? []).flatMap((layer) => layer.packages);
}

function comparePackages(before: readonly LockedPackage[], after: readonly LockedPackage[]): LockChanges {
  const old = new Map(before.map((item) => [item.name, item]));
  const fresh = new Map(after.map((item) => [item.name, item]));
  const names = [...new Set([...old.keys(), ...fresh.keys()])].sort();
  const nameAndVersion = (item: LockedPackage | undefined): { name: string; version: string }[] =>
    item === undefined ? [] : [{ name: item.name, version: item.version }];
  return {
    added: names.flatMap((name) => (old.has(name) ? [] : nameAndVersion(fresh.get(name)))),
    removed: names.flatMap((name) => (fresh.has(name) ? [] : nameAndVersion(old.get(name)))),
    changed: names.flatMap((name) => {
      const [from, to] = [old.get(name), fresh.get(name)];
      if (from === undefined || to === undefined || from.sha256 === to.sha256) return [];
      return [{ name, from: from.version, to: to.version }];
    }),
  };
}
