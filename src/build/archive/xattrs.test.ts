import { describe, expect, test } from 'vitest';

import { sortAttributes } from './xattrs.ts';

const attributes = (...names: [name: string, value?: string][]): ReadonlyMap<string, Buffer> =>
  new Map(names.map(([name, value]) => [name, Buffer.from(value ?? '')]));

describe('sortAttributes', () => {
  test('keeps capabilities and user attributes, reads opacity, forgets bookkeeping', () => {
    const tree = sortAttributes(
      '/t',
      new Map([
        ['/t', attributes(['trusted.overlay.origin'], ['trusted.overlay.impure', 'y'])],
        ['/t/ping', attributes(['security.capability', 'x'], ['user.note', 'n'], ['trusted.overlay.origin'])],
        ['/t/hidden', attributes(['trusted.overlay.opaque', 'y'])],
        ['/t/hidden-for-user', attributes(['user.overlay.opaque', 'y'])],
      ]),
    );
    expect([...(tree.kept('ping')?.keys() ?? [])]).toEqual(['security.capability', 'user.note']);
    expect(tree.isOpaque('hidden')).toBe(true);
    expect(tree.isOpaque('hidden-for-user')).toBe(true);
    expect(tree.isOpaque('ping')).toBe(false);
    expect(tree.kept('hidden')).toBeUndefined();
    expect(tree.kept('elsewhere')).toBeUndefined();
  });

  test.each([
    'trusted.overlay.redirect',
    'trusted.overlay.metacopy',
    'user.overlay.redirect',
    'trusted.overlay.overlay.opaque',
    'system.posix_acl_access',
  ])('refuses %s, but only on what is packed', (name) => {
    const tree = sortAttributes('/t', new Map([['/t/var/log/x', attributes([name])]]));
    expect(tree.kept('usr')).toBeUndefined();
    expect(() => tree.kept('var/log/x')).toThrow(expect.objectContaining({ code: 'BUILD_FAILED' }));
  });

  test('an opaque directory of the nested kind is refused', () => {
    const tree = sortAttributes('/t', new Map([['/t/d', attributes(['trusted.overlay.opaque', 'x'])]]));
    expect(() => tree.kept('d')).toThrow(expect.objectContaining({ code: 'BUILD_FAILED' }));
  });
});
