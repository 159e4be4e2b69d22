/** The steps that build kernel modules from source. Pure. */
import { digestOfJson, type Digest } from '../digest.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Lock, LockedModules } from '../resolve/lock.ts';
import type { PlannedTree } from './plan.ts';

/** What a plan of modules takes besides the lock. */
export interface ModuleFacts {
  /**
   * Digest over the code that builds modules, and not over all that builds: compiling takes minutes, which a change
   * elsewhere must not cost.
   */
  readonly builder: Digest;
  /** The same of the code that makes the root with headers and compiler. */
  readonly rootBuilder: Digest;
  /** The same of the code that makes blobs of them. */
  readonly packer: Digest;
  /** Texts of the patches that the lock names. */
  readonly patches: ReadonlyMap<string, string>;
  /** What the facts say of a layer's source and the kernel. */
  readonly known: ReadonlyMap<string, readonly string[]>;
  /** Fingerprint of the certificate that modules are signed for. */
  readonly signer?: Digest | undefined;
}

/** Modules stay as they are from lock to lock, so their files have no time of a lock's. */
const EPOCH = 0;

/** One step for each source, on no other: headers and compiler are no part of the image. */
export function planModules(lock: Lock, facts: ModuleFacts | undefined): PlannedTree[] {
  const { modules = [], compile, kernel, base } = lock;
  if (modules.length === 0) return [];
  if (facts === undefined || compile === undefined)
    throw new TypeError('a lock with modules says how to build them');
  const root = planCompile(compile.packages, facts.rootBuilder);
  const names = new Set<string>();
  return modules.map((one): PlannedTree => {
    const short = `modules-${one.layer.replace(/^[a-z]+-/, '')}`;
    const name = names.has(short) ? `modules-${one.layer}` : short;
    names.add(name);
    const { source, flavour, patches = [] } = one;
    return {
      name,
      kind: 'modules',
      treeKey: digestOfJson({
        kind: 'modules',
        // The certificate's file in the image is called after the step.
        ...(facts.signer !== undefined && { signer: facts.signer, name }),
        release: kernel.release,
        source: source.sha256,
        flavour,
        patches,
        compile: root.treeKey,
        builder: facts.builder,
        architecture: base.architecture,
      }),
      needs: [],
      packages: [source],
      files: [],
      epoch: EPOCH,
      summary: summaryOf(one, facts.signer !== undefined),
      modules: {
        kernelRelease: kernel.release,
        architecture: base.architecture,
        source,
        patches: patches.map((patch) => ({ name: patch.name, text: textOf(patch.name, facts) })),
        compile: root,
        ...(facts.signer !== undefined && { signer: facts.signer }),
        known: facts.known.get(one.layer) ?? [],
      },
    };
  });
}

function planCompile(packages: readonly LockedPackage[], builder: Digest): PlannedTree {
  return {
    name: 'compile',
    kind: 'base',
    treeKey: digestOfJson({ kind: 'compile', builder, packages: packages.map(inputOf) }),
    needs: [],
    packages,
    files: [],
    epoch: EPOCH,
    summary: `${packages.length} packages`,
  };
}

function textOf(name: string, { patches }: ModuleFacts): string {
  const text = patches.get(name);
  if (text === undefined) throw new TypeError(`the patch ${name} was not read`);
  return text;
}

function summaryOf({ source, flavour, patches = [] }: LockedModules, signed: boolean): string {
  return [
    `kernel modules of ${source.name} ${source.version}`,
    ...(flavour === undefined ? [] : [flavour]),
    ...patches.map(({ name }) => `patched: ${name}`),
    ...(signed ? ['signed'] : []),
  ].join(', ');
}

/** What of a package can change bits: its file, and whether it is installed first. */
export function inputOf({ sha256, essential }: LockedPackage): readonly [sha256: string, first: boolean] {
  return [sha256, essential === true];
}
