import { expect, test } from 'vitest';

import { parseDepmodComplaints } from './kmod.ts';

/** kmod 34, of a module that was built for another kernel. */
const OUTPUT = `# Aliases extracted from modules themselves.
alias platform:x x
depmod: WARNING: /run/ingot/build/check/lib/modules/6.12.117+deb13-amd64/updates/nvidia.ko needs unknown symbol foo_bar
depmod: WARNING: /run/ingot/build/check/lib/modules/6.12.117+deb13-amd64/updates/nvidia.ko disagrees about version of symbol module_layout
depmod: WARNING: /run/ingot/build/check/lib/modules/6.12.117+deb13-amd64/kernel/drivers/x.ko.xz needs unknown symbol other`;

test('what depmod says of our own modules, and of no other', () => {
  expect(parseDepmodComplaints(OUTPUT, ['nvidia.ko'])).toEqual([
    'nvidia.ko needs unknown symbol foo_bar',
    'nvidia.ko disagrees about version of symbol module_layout',
  ]);
  expect(parseDepmodComplaints(OUTPUT, ['nvidia-uvm.ko'])).toEqual([]);
});
