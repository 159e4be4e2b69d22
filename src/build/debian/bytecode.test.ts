import { describe, expect, it } from 'vitest';

import { modulesOf } from './bytecode.ts';

const SUPPORTED = ['python3.13', 'python3.14'];
const COMPILES = 'py3compile -p a\n';
const found = (listed: readonly string[], script = COMPILES): Record<string, string[]> =>
  Object.fromEntries(modulesOf(listed, script, SUPPORTED));

describe('modulesOf', () => {
  it('gives modules for all to every Python, and a Python’s own to it alone', () => {
    const shared = '/usr/lib/python3/dist-packages/a/b.py';
    expect(found([shared, '/usr/lib/python3.12/os.py', '/usr/share/doc/a/example.py', `${shared}c`])).toEqual({
      'python3.12': ['/usr/lib/python3.12/os.py'],
      'python3.13': [shared],
      'python3.14': [shared],
    });
  });

  it('gives those of a package that has none compiled to nobody, but for a Python’s own', () => {
    const listed = ['/usr/lib/python3/dist-packages/a.py', '/usr/lib/python3.13/os.py'];
    expect(found(listed, '')).toEqual({ 'python3.13': listed.slice(1) });
  });

  it('gives private ones to the default, where the package has them compiled', () => {
    const listed = ['/usr/share/a/x.py', '/usr/share/a/y/z.py', '/usr/share/ab/no.py'];
    expect(found(listed)).toEqual({});
    expect(found(listed, 'py3compile -p a /usr/share/a\n')).toEqual({ 'python3.13': listed.slice(0, 2) });
    expect(found(listed, 'py3compile -p a /usr/share/a/x.py\n')).toEqual({ 'python3.13': listed.slice(0, 1) });
  });

  it('gives none where there is no Python', () => {
    expect(modulesOf(['/usr/lib/python3/dist-packages/a.py'], COMPILES, []).size).toBe(0);
  });
});
