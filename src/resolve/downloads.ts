/**
 * Packages that hold nothing: their scripts download, while they are configured, what the package promises. A build
 * has no network, and what was downloaded would be in no lock. Pure.
 */
import { FindingsError, type Finding } from '../errors.ts';
import { describePackage, type LockedPackage } from '../packages/package.ts';
import type { ParsedSpec } from '../spec/node-image.ts';
import type { Lock } from './lock.ts';

/** Debian's, by name, with what they download. */
const DOWNLOADED: ReadonlyMap<string, string> = new Map([['nvidia-cudnn', 'cuDNN from NVIDIA']]);

/** Declarations' keys, by the kind of layer that they ask for. */
const KEYS: Readonly<Record<string, string>> = {
  addon: 'addons',
  cuda: 'cuda',
  driver: 'driver',
  packages: 'packages',
  runtime: 'runtimes',
};

export interface Downloader {
  /** The layer that has it. */
  readonly layer: string;
  readonly kind: string;
  readonly package: LockedPackage;
  /** What it downloads, and from where. */
  readonly what: string;
}

/** Those of the distribution; a package of the same name from somebody's own repository is taken to hold it. */
export function downloadersIn({ layers, archives }: Pick<Lock, 'layers' | 'archives'>): Downloader[] {
  const own = new Set(archives.filter(({ url }) => url !== undefined).map(({ name }) => name));
  return layers.flatMap(({ name: layer, kind, packages }) =>
    packages.flatMap((item): Downloader[] => {
      const what = DOWNLOADED.get(item.name);
      return what === undefined || own.has(item.archive) ? [] : [{ layer, kind, package: item, what }];
    }),
  );
}

export function describeDownloader({ layer, package: item, what }: Downloader): string {
  return (
    `${layer}: ${describePackage(item)} downloads ${what} while it is configured, and a build has no network: ` +
    `bring a package ${item.name} that holds it, from a repository of your own (docs/layers.md, "Packages that download")`
  );
}

/** @throws FindingsError PACKAGE_DOWNLOADS for all of them, before anything is built */
export function refuseDownloaders(lock: Lock, { sources }: Pick<ParsedSpec, 'sources'>): void {
  const findings = downloadersIn(lock).map((one): Finding => {
    const key = KEYS[one.kind];
    return {
      code: 'PACKAGE_DOWNLOADS',
      severity: 'error',
      message: describeDownloader(one),
      location: sources.at(key === undefined ? [] : [key]),
    };
  });
  if (findings.length > 0) throw new FindingsError(findings);
}
