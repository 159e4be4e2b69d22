import { describe, expect, test } from 'vitest';

import { fullLock } from '../../test/support/bills.ts';
import { type Digest, digestOf, digestOfJson } from '../digest.ts';
import { MEDIA_TYPES } from '../oci/schema.ts';
import { imagePackages } from '../resolve/compare-locks.ts';
import { manifestDocument } from './attach.ts';
import { provenanceOf } from './provenance.ts';

const lock = fullLock();
const builder = { id: 'https://ci.example.com/node', version: '1.2.3' };

function image(annotations: Record<string, string>): ReturnType<typeof manifestDocument> {
  const config = { mediaType: MEDIA_TYPES.config, digest: digestOf('{}'), size: 2 };
  return manifestDocument({ schemaVersion: 2, config, layers: [], annotations });
}

interface Predicate {
  readonly buildDefinition: {
    readonly externalParameters: object;
    readonly resolvedDependencies: readonly {
      readonly name: string;
      readonly digest: { readonly sha256: string };
    }[];
  };
  readonly runDetails: object;
}

function predicateOf(digest: Digest, locks = [lock]): Predicate {
  const attestation = provenanceOf(image({ 'dev.ingot.lock': digest }), locks, builder);
  expect(attestation?.predicateType).toBe('https://slsa.dev/provenance/v1');
  return attestation?.predicate as Predicate;
}

describe('provenance', () => {
  test('names the lock and everything in it, each once', () => {
    const { buildDefinition, runDetails } = predicateOf(digestOfJson(lock));
    expect(runDetails).toEqual({ builder: { id: builder.id, version: { ingot: '1.2.3' } } });
    expect(buildDefinition.externalParameters).toMatchObject({
      lock: { sha256: digestOfJson(lock).slice(7) },
      declaration: { sha256: lock.declaration.slice(7) },
      image: { name: lock.name, version: lock.version },
    });
    const digests = buildDefinition.resolvedDependencies.map(({ digest }) => digest.sha256);
    expect(new Set(digests).size).toBe(digests.length);
    const wanted = [
      ...[...imagePackages(lock), ...lock.tools.packages].map(({ sha256 }) => sha256),
      ...['a', 'b', 'c'].map((digit) => digit.repeat(64)), // source, compiler, patch
      ...[digestOf('container'), digestOf('agent'), digestOfJson(lock)].map((digest) => digest.slice(7)),
    ];
    expect(digests).toEqual(expect.arrayContaining(wanted));
    expect(buildDefinition.resolvedDependencies.map(({ name }) => name)).toContain(
      'nvidia-open-kernel-dkms_550.163.01-2_amd64',
    );
  });

  test('is the same when it is said again', () => {
    expect(predicateOf(digestOfJson(lock))).toEqual(predicateOf(digestOfJson(lock)));
  });

  test('of an image whose lock is not at hand names the lock alone', () => {
    const { buildDefinition } = predicateOf(digestOf('another lock'));
    expect(buildDefinition.resolvedDependencies.map(({ name }) => name)).toEqual(['lock']);
    expect(Object.keys(buildDefinition.externalParameters)).toEqual(['lock']);
  });

  test('is not made up for what Ingot has not built', () => {
    expect(provenanceOf(image({}), [lock], builder)).toBeUndefined();
    expect(provenanceOf(image({ 'dev.ingot.lock': 'yes' }), [lock], builder)).toBeUndefined();
    const index = {
      descriptor: image({}).descriptor,
      bytes: Buffer.from('{"schemaVersion":2,"manifests":[]}'),
    };
    expect(provenanceOf(index, [lock], builder)).toBeUndefined();
  });
});
