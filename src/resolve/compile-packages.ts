/** What kernel modules are built with, on Debian. Pure. */
import type { PackageRequest } from '../packages/solve.ts';
import type { Lock } from './lock.ts';

/** Headers, and what their package does not ask for itself: the compiler it does, of the kernel's own version. */
const TOOLS = ['make', 'kmod', 'patch', 'libc6-dev'];

/** The package with the headers of a kernel. It needs the image itself, of just its version. */
export function headersOf({ release }: Pick<Lock['kernel'], 'release'>): string {
  return `linux-headers-${release}`;
}

export function compileRequests(kernel: Pick<Lock['kernel'], 'release' | 'version'>): PackageRequest[] {
  const by = 'kernel modules';
  return [
    { name: headersOf(kernel), version: kernel.version, by },
    ...TOOLS.map((name): PackageRequest => ({ name, by })),
  ];
}
