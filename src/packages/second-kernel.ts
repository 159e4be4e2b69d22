/** Kernels among the packages that are to be added to a base, which has its own or is none for machines. Pure. */
import { IngotError } from '../errors.ts';
import type { PackageRequest } from './solve.ts';

export interface AddedKernel {
  readonly name: string;
  readonly version: string;
}

/** `linux-image-6.12.57+deb13-amd64`, `linux-image-unsigned-6.8.0-31-generic`: of Debian's names, those that hold one. */
export function kernelsOfDebian(packages: readonly AddedKernel[]): AddedKernel[] {
  return packages.filter(({ name }) => /^linux-image-(?:unsigned-)?\d/.test(name) && !name.endsWith('-dbg'));
}

/**
 * An image has one kernel: everything from the initramfs to the arguments is made for the base's.
 *
 * @param wanted who may have asked for it
 * @throws IngotError SPEC_INVALID, at the place of the request that names the kernel or, where none does, of the first
 */
export function refuseKernels(
  kernels: readonly AddedKernel[],
  wanted: readonly PackageRequest[],
  suite: string,
): void {
  if (kernels.length === 0) return;
  const shown = kernels.map(({ name, version }) => `${name} ${version}`).join(', ');
  const named = wanted.find((request) => kernels.some(({ name }) => name === request.name));
  const kernelLike = wanted.find(({ name }) => /^(?:linux-|kernel)/.test(name));
  const location = (named ?? kernelLike ?? wanted[0])?.location;
  throw new IngotError(
    'SPEC_INVALID',
    `${shown} would be another kernel than that of the base (${suite}), which an image keeps`,
    {
      hint: 'leave out what needs it, or take a base with that kernel',
      ...(location !== undefined && { location }),
    },
  );
}
