import { describe, expect, test } from 'vitest';

import { judgeDefaults, parseConfigDiff, parseEdits, parseTreeDiff } from './node-edits.ts';

test('edits are told one a line', () => {
  expect(
    parseEdits('added /etc/ingot-test.d/added\nchanged /etc/motd\nnoise\nremoved /etc/networks\n'),
  ).toEqual([
    { what: 'added', path: '/etc/ingot-test.d/added' },
    { what: 'changed', path: '/etc/motd' },
    { what: 'removed', path: '/etc/networks' },
  ]);
});

test('local changes are what ostree says of /etc', () => {
  const stdout = 'M    motd\nD    networks\nA    ingot-test.d\nA    a name with spaces\n';
  expect([...parseConfigDiff(stdout)]).toEqual(['motd', 'networks', 'ingot-test.d', 'a name with spaces']);
});

describe('defaults in /etc', () => {
  const [old, fresh] = ['/sysroot/ostree/deploy/default/deploy/a.0/usr/etc', '/usr/etc'];

  test('that differ are found by diff', () => {
    const stdout = [
      `Files ${old}/os.conf and ${fresh}/os.conf differ`,
      `Files ${old}/x and y/z and ${fresh}/x and y/z differ`,
      `Symbolic links ${old}/localtime and ${fresh}/localtime differ`,
      `File ${old}/mtab is a regular file while file ${fresh}/mtab is a symbolic link`,
      `Only in ${fresh}: of-new.conf`,
      `Only in ${fresh}/apt/apt.conf.d: 50new`,
      `Only in ${old}/default: gone`,
      '',
    ].join('\n');
    expect(parseTreeDiff(stdout, old, fresh)).toEqual([
      { path: 'os.conf', what: 'changed' },
      { path: 'x and y/z', what: 'changed' },
      { path: 'localtime', what: 'changed' },
      { path: 'mtab', what: 'changed' },
      { path: 'of-new.conf', what: 'added' },
      { path: 'apt/apt.conf.d/50new', what: 'added' },
      { path: 'default/gone', what: 'removed' },
    ]);
  });

  test('are stale when the old one or none is there, and not when the system changed them since', () => {
    const changes = [
      { path: 'a', what: 'changed' as const },
      { path: 'b', what: 'changed' as const },
      { path: 'c', what: 'added' as const },
      { path: 'd', what: 'removed' as const },
      { path: 'e', what: 'changed' as const },
      { path: 'f', what: 'added' as const },
    ];
    expect(judgeDefaults(changes, ['new', 'old', 'none', 'old', 'own', 'new'])).toEqual([
      '/etc/b, which the new image changes, is still the old one’s',
      '/etc/c, which the new image adds, is missing',
      '/etc/d, which the new image drops, is still the old one’s',
    ]);
    // An answer that was cut short counts as none.
    expect(judgeDefaults(changes.slice(0, 2), ['new'])).toHaveLength(1);
  });
});
