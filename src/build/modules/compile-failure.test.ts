import { expect, test } from 'vitest';

import { CompileComplaints } from './compile-failure.ts';

function linesOf(output: string): readonly string[] {
  const complaints = new CompileComplaints();
  for (const line of output.split('\n')) complaints.add(line);
  return complaints.lines;
}

/** GCC 14 and make 4.4 on Debian's 550.163.01-2 for 6.12.117, shortened. */
const COMPILER = `  gcc-14 -Wp,-MMD,/b/nvidia/.nv-pci.o.d -Werror=date-time -Werror=strict-prototypes -c -o /b/nvidia/nv-pci.o /b/nvidia/nv-pci.c
/b/nvidia/nv-pci.c: In function 'nv_resize_pcie_bars':
/b/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'
  237 |     r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size);
      |         ^~~~~~~~~~~~~~~~~~~
make[4]: *** [/usr/src/linux-headers-6.12.117+deb13-common/scripts/Makefile.build:234: /b/nvidia/nv-pci.o] Error 1
make[4]: *** Waiting for unfinished jobs....
make[3]: *** [/usr/src/linux-headers-6.12.117+deb13-common/Makefile:1954: /b] Error 2`;

test('the compiler’s own words, and make’s only where there are no others', () => {
  expect(linesOf(COMPILER)).toEqual([
    "/b/nvidia/nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'",
  ]);
  expect(linesOf('make: *** No rule to make target \'modules\'.  Stop.')).toEqual([
    "make: *** No rule to make target 'modules'.  Stop.",
  ]);
});

test('modpost, a missing header, and the linker', () => {
  const output = `ERROR: modpost: "foo" [/b/own.ko] undefined!
x.c:1:10: fatal error: linux/of_gpio.h: No such file or directory
ld: x.o: in function 'f': undefined reference to 'g'`;
  expect(linesOf(output)).toHaveLength(3);
});

test('the first ones, each once', () => {
  const output = Array.from({ length: 30 }, (_, index) => `x.c:${index}:1: error: no\nx.c:${index}:1: error: no`);
  const lines = linesOf(output.join('\n'));
  expect(lines).toHaveLength(9);
  expect(lines.at(-1)).toBe('and 22 more');
});
