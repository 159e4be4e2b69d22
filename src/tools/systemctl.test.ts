import { expect, test } from 'vitest';

import {
  parseBootTimes,
  parseFinishTime,
  parseSystemdVersion,
  parseTimespan,
  parseUnitNames,
} from './systemctl.ts';

test('unit names are the first column', () => {
  expect(
    parseUnitNames('ssh.service loaded failed failed OpenBSD Secure Shell server\nx.mount  a\n\n'),
  ).toEqual(['ssh.service', 'x.mount']);
});

test('boot times of systemd 257 are understood', () => {
  const text =
    'Startup finished in 5.035s (kernel) + 23.390s (initrd) + 1min 4.344s (userspace) = 1min 32.770s \n' +
    'graphical.target reached after 44.320s in userspace.\n';
  expect(parseBootTimes(text)).toEqual({ kernel: 5.035, initrd: 23.39, userspace: 64.344 });
  expect(
    parseBootTimes(
      'Startup finished in 2.5s (firmware) + 900ms (loader) + 1s (kernel) + 3s (userspace) = 7.4s',
    ),
  ).toEqual({ firmware: 2.5, loader: 0.9, kernel: 1, userspace: 3 });
  expect(parseBootTimes('Bootup is not yet finished')).toEqual({});
});

test('time spans add up', () => {
  expect(parseTimespan('1h 2min 3.5s')).toBe(3723.5);
  expect(parseTimespan('250us')).toBeCloseTo(0.00025);
});

test('the version of systemd is its first number', () => {
  expect(parseSystemdVersion('systemd 257 (257.9-1~deb13u1)\n+PAM +AUDIT +SELINUX\n')).toBe(257);
  expect(parseSystemdVersion('systemd 258~rc1 (258~rc1-2)\n')).toBe(258);
  expect(parseSystemdVersion('')).toBeUndefined();
});

test('a start that has not ended has no time', () => {
  expect(parseFinishTime('FinishTimestamp=@1764454123\n')).toBe(1764454123);
  expect(parseFinishTime('FinishTimestamp=\n')).toBeUndefined();
  expect(parseFinishTime('FinishTimestamp=@0\n')).toBeUndefined();
});
