import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { IngotError } from '../errors.ts';
import { isPkcs11Uri, parseTokenKeyUri } from './pkcs11-uri.ts';

function refusal(text: string): string {
  try {
    parseTokenKeyUri(text);
  } catch (error) {
    if (error instanceof IngotError && error.code === 'USAGE') return error.message;
    throw error;
  }
  throw new Error(`${text} was taken`);
}

describe('a URI of a key', () => {
  it('is taken apart: what the token gets, and what Ingot reads itself', () => {
    const text =
      'pkcs11:object=mok;token=Build%20keys;id=%01%ff?pin-source=file:///run/pin&module-path=/usr/lib/x.so';
    expect(parseTokenKeyUri(text)).toEqual({
      key: 'pkcs11:token=Build%20keys;object=mok;id=%01%FF;type=private',
      pinSource: '/run/pin',
      modulePath: '/usr/lib/x.so',
    });
    expect(parseTokenKeyUri('pkcs11:serial=1;id=a?pin-source=/run/pin').pinSource).toBe('/run/pin');
    expect(parseTokenKeyUri('pkcs11:serial=1;id=a?pin-source=file:/run/pin').pinSource).toBe('/run/pin');
  });

  it('names the same key whatever stands in the names', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: 'grapheme' }), (name) => {
        fc.pre(!name.includes('\0'));
        const { key } = parseTokenKeyUri(`PKCS11:token=${encodeURIComponent(name)};object=k`);
        expect(key).toMatch(/^pkcs11:[\w.~%;=-]+$/);
        expect(decodeURIComponent(/token=([^;]*)/.exec(key)?.[1] ?? '')).toBe(name);
        expect(parseTokenKeyUri(key).key).toBe(key);
      }),
    );
  });

  it.each([
    ['pkcs11:', ['names no token', 'names no key']],
    ['pkcs11:object=mok', ['names no token']],
    ['pkcs11:token=a', ['names no key']],
    ['pkcs11:token=a;object=b;type=cert', ['its type is not private']],
    ['pkcs11:token=a;token=b;object=b', ['token stands in it twice']],
    ['pkcs11:token=%4;object=b', ['token has no value that can be read']],
    ['pkcs11:token=;object=b', ['token has no value that can be read']],
    ['pkcs11:token=a%00;object=b', ['token holds a zero byte']],
    ['pkcs11:token=a;object=b;slot-id=3', ['slot-id is not known here']],
    ['pkcs11:token=a;object=b?pin-source=%7C/bin/pin', ['pin-source is no absolute path']],
    ['pkcs11:token=a;object=b?pin-source=file://elsewhere/pin', ['pin-source is no absolute path']],
    ['pkcs11:token=a;object=b?module-path=x.so', ['module-path is no absolute path']],
  ])('%s is refused with all that is wrong', (text, expected) => {
    const message = refusal(text);
    for (const what of expected) expect(message).toContain(what);
  });

  it.each([
    'pkcs11:token=a;object=b?pin-value=4711',
    'pkcs11:token=a;object=b;pin-value=4711',
    'pkcs11:token=a;object=b?pin-value=4711&pin-source=/x',
    'pkcs11:token=a;object=b?4711',
    'pkcs11:token=a;object=b?pin=4711',
  ])('%s with a PIN in it is refused, and the PIN is not repeated', (text) => {
    const message = refusal(text);
    if (text.includes('pin-value')) expect(message).toContain('pin-value would show the PIN');
    expect(message).not.toContain('4711');
  });

  it('is told from a descriptor by its scheme', () => {
    expect([isPkcs11Uri('pkcs11:'), isPkcs11Uri('PKCS11:x'), isPkcs11Uri('3')]).toEqual([true, true, false]);
  });
});
