import { describe, expect, test } from 'vitest';

import { linkerFolders, matches, settlesModules } from './module-settings.ts';

const MODULES = new Set(['ahci', 'nvme', 'usb_storage']);

describe('settlesModules', () => {
  test.each([
    ['blacklist nouveau\nalias char-major-195* nvidia\noptions nvidia NVreg_X=1\n', false],
    ['# blacklist ahci\n\n', false],
    ['softdep nvidia pre: ahci\n', false],
    ['install nvidia /sbin/modprobe -i nvidia-current $CMDLINE_OPTS\n', false],
    ['blacklist ahci\n', true],
    ['options usb-storage quirks=1\n', true],
    ['softdep nvme pre: other\n', true],
    ['install ahci /bin/false\n', true],
    ['alias disk-* nvme\n', true],
    ['alias usb_* other\n', true],
    ['options nvidia \\\n  a=1\n', false],
    ['options \\\nahci a=1\n', true],
    ['config /run/else\n', true],
  ])('%j: %s', (text, expected) => {
    expect(settlesModules(text, MODULES)).toBe(expected);
  });
});

test.each([
  ['/usr/local/cuda/lib64 # CUDA\n\n/opt/lib\n', ['/usr/local/cuda/lib64', '/opt/lib']],
  ['include /etc/else/*.conf\n', undefined],
  ['hwcap 1 nosegneg\n', undefined],
])('folders of %j', (text, expected) => {
  expect(linkerFolders(text)).toEqual(expected);
});

test.each([
  ['ql2500_fw.bin', 'ql2500_fw.bin', true],
  ['ql2500_fw.bin', 'ql2500_fwxbin', false],
  ['cxgb4/t?fw*.bin', 'cxgb4/t4fw-1.bin', true],
  ['a-b', 'a_b', true],
  ['nvidia/*/gsp', 'nvidia/550/gsp_ga10x.bin', false],
])('%s matches %s: %s', (glob, name, expected) => {
  expect(matches(glob, name)).toBe(expected);
});
