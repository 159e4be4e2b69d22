import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { digestOf } from '../digest.ts';
import type { IngotError } from '../errors.ts';
import { type ImageReference, parseImageReference, renderImageReference } from './reference.ts';

const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const component = fc
  .tuple(
    alphanumeric,
    fc.array(fc.tuple(fc.constantFrom('.', '_', '__', '-', '---'), alphanumeric), { maxLength: 2 }),
  )
  .map(([first, more]) => first + more.flat().join(''));
const host = fc
  .tuple(
    fc.oneof(
      fc.constant('localhost'),
      fc.tuple(alphanumeric, alphanumeric).map((labels) => labels.join('.')),
    ),
    fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
  )
  .map(([name, port]) => (port === undefined ? name : `${name}:${port}`));
const reference: fc.Arbitrary<ImageReference> = fc
  .record({
    registry: host,
    repository: fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
    tag: fc.option(fc.stringMatching(/^\w[\w.-]{0,30}$/), { nil: undefined }),
    digest: fc.option(fc.string().map(digestOf), { nil: undefined }),
  })
  .map(({ registry, repository, tag, digest }) => ({
    registry,
    repository,
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
  }));

describe('references', () => {
  test('are read as they are written', () => {
    fc.assert(
      fc.property(reference, (value) => {
        expect(parseImageReference(renderImageReference(value))).toEqual(value);
        expect(parseImageReference(`docker://${renderImageReference(value)}`)).toEqual(value);
      }),
    );
  });

  test('are a reference or a mistake of the user, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), reference.map(renderImageReference), fc.string({ unit: 'binary' })),
        (text) => {
          try {
            const value = parseImageReference(text);
            expect(parseImageReference(renderImageReference(value))).toEqual(value);
          } catch (error) {
            expect((error as IngotError).code).toBe('USAGE');
          }
        },
      ),
    );
  });

  test.each([
    ['localhost/a', { registry: 'localhost', repository: 'a' }],
    ['[::1]:5000/a:b', { registry: '[::1]:5000', repository: 'a', tag: 'b' }],
    ['Registry.Example.COM/a', { registry: 'registry.example.com', repository: 'a' }],
    ['docker.io/debian:13', { registry: 'docker.io', repository: 'library/debian', tag: '13' }],
    ['docker.io/bitnami/etcd', { registry: 'docker.io', repository: 'bitnami/etcd' }],
  ])('%s', (text, expected) => {
    expect(parseImageReference(text)).toEqual(expected);
  });

  test.each([
    ['debian:13', /does not begin with a registry/],
    ['library/debian', /does not begin with a registry/],
    ['oci:build/x', /does not begin with a registry/],
    ['example.com/A', /is no path/],
    ['example.com/a//b', /is no path/],
    ['example.com/../b', /is no path/],
    ['example.com/a?x=1', /is no path/],
    ['user:secret@example.com/a', /after @ belongs/],
    ['example.com:99999/a', /no such port/],
    ['example.com/a:', /is no tag/],
    ['example.com/a@sha256:12', /after @ belongs/],
    [`example.com/${'a'.repeat(250)}`, /more than 255/],
  ])('%s is refused', (text, message) => {
    expect(() => parseImageReference(text)).toThrow(message);
  });
});
