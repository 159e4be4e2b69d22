/** What rpm packages are chosen and installed with: a root of its own, made for bases that have rpm's alone. Pure. */
import type { PackageRequest } from '../packages/solve.ts';

const TOOLS = ['dnf', 'rpm'];

export function rpmToolRequests(): PackageRequest[] {
  return TOOLS.map((name) => ({ name, by: 'bases with rpm packages' }));
}
