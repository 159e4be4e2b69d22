/** What kernel modules are built with, on Debian. Pure. */
import { headersOf } from '../packages/kernels.ts';
import type { PackageRequest } from '../packages/solve.ts';
import type { Lock } from './lock.ts';

/** Headers, and what their package does not ask for itself: the compiler it does, of the kernel's own version. */
const TOOLS = ['make', 'kmod', 'patch', 'libc6-dev'];

export function compileRequests(kernel: Pick<Lock['kernel'], 'release' | 'version'>): PackageRequest[] {
  const by = 'kernel modules';
  return [
    // They need the image itself, of just its version.
    { name: headersOf(kernel), version: kernel.version, by },
    ...TOOLS.map((name): PackageRequest => ({ name, by })),
  ];
}
