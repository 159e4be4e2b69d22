import { expect, test } from 'vitest';

import { isMounted, nextRootMounts } from './next-root.ts';

test('the next root is the deployment, /usr and the physical root read-only, /etc writable', () => {
  const folder = '/sysroot/ostree/deploy/default/deploy/a.0';
  expect(nextRootMounts({ folder, sysroot: '/sysroot', isComposefs: false }, '/next')).toEqual([
    ['mount', '--bind', '/sysroot/ostree/deploy/default/deploy/a.0', '/next'],
    ['mount', '--make-rprivate', '/next'],
    ['mount', '-o', 'remount,bind,rw', '/next'],
    ['mount', '--bind', '/next/etc', '/next/etc'],
    ['mount', '--bind', '/next/usr', '/next/usr'],
    ['mount', '-o', 'remount,bind,ro', '/next/usr'],
    ['mount', '--bind', '/sysroot', '/next/sysroot'],
    ['mount', '-o', 'remount,bind,ro', '/next/sysroot'],
  ]);
});

test('where the root is a composefs, the next is one', () => {
  const folder = '/sysroot/ostree/deploy/default/deploy/a.0';
  const names = '/run/ingot/composefs';
  const lower = `lowerdir=${names}::/sysroot/ostree/repo/objects`;
  expect(nextRootMounts({ folder, sysroot: '/sysroot', isComposefs: true }, '/next')).toEqual([
    ['mkdir', '--parents', names],
    ['mount', '-t', 'erofs', '-o', 'ro', `${folder}/.ostree.cfs`, names],
    ['mount', '-t', 'overlay', '-o', `ro,${lower},redirect_dir=on,metacopy=on`, 'composefs', '/next'],
    ['umount', names],
    ['mount', '--make-rprivate', '/next'],
    ['mount', '--bind', `${folder}/etc`, '/next/etc'],
    ['mount', '-o', 'remount,bind,rw', '/next/etc'],
    ['mount', '--bind', '/sysroot', '/next/sysroot'],
    ['mount', '-o', 'remount,bind,ro', '/next/sysroot'],
  ]);
});

test('whether something is mounted at a place is that place, not one below or beside it', () => {
  const mountinfo = [
    '22 1 254:3 /ostree/deploy/default/deploy/a.0 / rw,relatime shared:1 - ext4 /dev/vda3 rw',
    '31 22 0:27 / /run rw,nosuid,nodev shared:12 - tmpfs tmpfs rw,size=196128k',
    '99 31 254:3 /x /run/nextroot/usr ro,relatime - ext4 /dev/vda3 rw',
    '',
  ].join('\n');
  expect(isMounted(mountinfo, '/run')).toBe(true);
  expect(isMounted(mountinfo, '/run/nextroot')).toBe(false);
  expect(isMounted(mountinfo, '/run/nextroot/usr')).toBe(true);
});
