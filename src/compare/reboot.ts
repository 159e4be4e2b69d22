/**
 * Whether a node can go over to the new image by restarting user space alone (systemd-soft-reboot.service(8)): what
 * the running kernel was started with and has loaded must be the same. Pure.
 */
import type { ImageSummary } from './image-summary.ts';
import type { FileChange } from './stack-layers.ts';

export interface Reboot {
  /** `unknown`: nothing speaks against a soft one, but not everything was told. */
  readonly kind: 'none' | 'soft' | 'full' | 'unknown';
  /** Why it must be a full one; or what was not told. */
  readonly reasons: readonly string[];
}

export function rebootFor(
  before: ImageSummary,
  after: ImageSummary,
  files: readonly FileChange[] | undefined,
  isSame: boolean,
): Reboot {
  if (isSame) return { kind: 'none', reasons: [] };
  const reasons: string[] = [];
  const [from, to] = [before.facts, after.facts];
  if (from.kernel?.release !== to.kernel?.release) {
    reasons.push(`kernel ${from.kernel?.release ?? 'unknown'} → ${to.kernel?.release ?? 'unknown'}`);
  } else if (from.kernel?.version !== to.kernel?.version) {
    reasons.push(`kernel ${from.kernel?.version ?? 'unknown'} → ${to.kernel?.version ?? 'unknown'}`);
  }
  const driver = ({ driver: one }: ImageSummary['facts']): string =>
    one === undefined ? 'none' : [one.name, one.version, one.modules].filter(Boolean).join(' ');
  if (driver(from) !== driver(to)) reasons.push(`driver ${driver(from)} → ${driver(to)}`);
  if ((before.modules ?? []).join() !== (after.modules ?? []).join()) {
    reasons.push('kernel modules are built from another source');
  }
  const changedArguments =
    before.kernelArguments !== undefined && after.kernelArguments !== undefined
      ? before.kernelArguments.join(' ') !== after.kernelArguments.join(' ')
      : undefined;
  if (changedArguments === true) reasons.push('kernel arguments change');
  if (files !== undefined) reasons.push(...bootFiles(files, reasons.length > 0));
  if (reasons.length > 0) return { kind: 'full', reasons };
  const untold = [
    ...(files === undefined ? ['whether the initramfs stays the same'] : []),
    ...(changedArguments === undefined ? ['whether the kernel arguments stay the same'] : []),
  ];
  return untold.length > 0 ? { kind: 'unknown', reasons: untold } : { kind: 'soft', reasons: [] };
}

/** What of the kernel's own folder moved. A new kernel takes everything else along, which need not be said. */
function bootFiles(files: readonly FileChange[], isExplained: boolean): string[] {
  if (isExplained) return [];
  const found = new Set<string>();
  for (const { path } of files) {
    const name = /^(?:usr\/)?lib\/modules\/[^/]+\/(.*)$/.exec(path)?.[1];
    if (name === undefined) continue;
    if (name === 'vmlinuz') found.add('the kernel is another one under the same name');
    else if (name === 'initramfs.img') found.add('the initramfs changes');
    else if (/\.ko(?:\.\w+)?$/.test(name)) found.add('kernel modules change');
  }
  return [...found].sort();
}
