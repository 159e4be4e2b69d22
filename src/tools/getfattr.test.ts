import { describe, expect, test } from 'vitest';

import { parseGetfattr } from './getfattr.ts';

// Captured from getfattr 2.5.1 (Debian 12).
const CAPTURED = `# file: /tmp/xa/cap
security.capability=0sAQAAAgAgAAAAAAAAAAAAAAAAAAA=

# file: /tmp/xa/a b\\134c\\012d\\015e=é
user.k\\0751=0sAP8K
user.ü\\012\\134x=0s

# file: /tmp/xa/lnk
trusted.foo=0sYmFy

`;

describe('parseGetfattr', () => {
  test('reads escaped paths and names and binary values', () => {
    const files = parseGetfattr(CAPTURED);
    expect([...files.keys()]).toEqual(['/tmp/xa/cap', '/tmp/xa/a b\\c\nd\re=é', '/tmp/xa/lnk']);
    expect(files.get('/tmp/xa/cap')?.get('security.capability')?.toString('hex')).toBe(
      '0100000200200000000000000000000000000000',
    );
    const odd = files.get('/tmp/xa/a b\\c\nd\re=é');
    expect(odd?.get('user.k=1')).toEqual(Buffer.from([0, 255, 10]));
    expect(odd?.get('user.ü\n\\x')).toEqual(Buffer.alloc(0));
  });

  test('an empty dump is an empty map', () => {
    expect(parseGetfattr('').size).toBe(0);
  });

  test('rejects what is not a dump', () => {
    expect(() => parseGetfattr('getfattr: oops\n')).toThrow(SyntaxError);
    expect(() => parseGetfattr('# file: /a\nuser.x="text"\n')).toThrow(SyntaxError);
  });
});
