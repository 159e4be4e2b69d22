import { describe, expect, it } from 'vitest';

import { nameOfNevra, parseRpmFailures, parseUnsigned, rpmAtWork } from './rpm.ts';

describe('parseRpmFailures', () => {
  it('names the package and its script, whether rpm calls it an error or a warning', () => {
    const output = [
      'Verifying packages...',
      'error: %prein(one-1.0-1.noarch) scriptlet failed, exit status 4',
      'error: one-1.0-1.noarch: install failed',
      'warning: %post(two-1:2.0-1.fc42.x86_64) scriptlet failed, exit status 1',
      'warning: %transfiletriggerin(three-3-1.noarch) scriptlet failed, signal 9',
    ].join('\n');
    expect(parseRpmFailures(output)).toEqual([
      { package: 'one-1.0-1.noarch', what: 'its script %pre failed (exit status 4)' },
      { package: 'two-1:2.0-1.fc42.x86_64', what: 'its script %post failed (exit status 1)' },
      { package: 'three-3-1.noarch', what: 'its script %transfiletriggerin failed (signal 9)' },
    ]);
  });

  it('names both packages of a file, new ones and those that are there', () => {
    const output = [
      '\tfile /usr/lib/x conflicts between attempted installs of a-1-1.noarch and b-1-1.noarch',
      '\tfile /etc/y from install of c-1-1.noarch conflicts with file from package d-1-1.noarch',
    ].join('\n');
    expect(parseRpmFailures(output)).toEqual([
      { package: 'a-1-1.noarch', what: '/usr/lib/x is also a file of b-1-1.noarch' },
      { package: 'c-1-1.noarch', what: '/etc/y is also a file of d-1-1.noarch' },
    ]);
  });

  it('finds nothing in what went well', () => {
    expect(
      parseRpmFailures('Preparing packages...\nhello-1.0-1.noarch\nwarning: /etc/x created as /etc/x.rpmnew'),
    ).toEqual([]);
  });
});

describe('parseUnsigned', () => {
  it('passes over files whose digests and signatures are fine', () => {
    const output = [
      '/packages/aa/aa.rpm: digests signatures OK',
      '/packages/bb/bb.rpm: digests SIGNATURES NOT OK',
      '/packages/cc/cc.rpm: DIGESTS signatures NOT OK',
      'error: something else',
    ].join('\n');
    expect(parseUnsigned(output)).toEqual(['/packages/bb/bb.rpm', '/packages/cc/cc.rpm']);
  });
});

describe('names of packages', () => {
  it('are told from other words', () => {
    expect(rpmAtWork('libgreet-1:2.1-1.noarch')).toBe('libgreet-1:2.1-1.noarch');
    expect(rpmAtWork('python3-x_y-1.0~rc1-1.fc42.x86_64')).toBe('python3-x_y-1.0~rc1-1.fc42.x86_64');
    expect(rpmAtWork('Preparing packages...')).toBeUndefined();
    expect(rpmAtWork('Created symlink /etc/systemd/system/a.service')).toBeUndefined();
    expect(nameOfNevra('python3-x_y-1.0~rc1-1.fc42.x86_64')).toBe('python3-x_y');
  });
});
