import { describe, expect, it } from 'vitest';

import { digestOf } from '../digest.ts';

import { debianPurl, ociPurl, rpmPurl } from './package-url.ts';

describe('package URLs', () => {
  it.each([
    [
      { name: 'bash', version: '5.2.37-2+b10' },
      'pkg:deb/debian/bash@5.2.37-2%2Bb10?arch=amd64&distro=trixie',
    ],
    [
      { name: 'bsdutils', version: '1:2.41~rc1-1' },
      'pkg:deb/debian/bsdutils@1:2.41~rc1-1?arch=amd64&distro=trixie',
    ],
    [{ name: 'libstdc++6', version: '14' }, 'pkg:deb/debian/libstdc%2B%2B6@14?arch=amd64&distro=trixie'],
  ])('of Debian packages', (one, expected) => {
    expect(debianPurl({ vendor: 'debian', architecture: 'amd64', distribution: 'trixie', ...one })).toBe(
      expected,
    );
  });

  it('say whose a package is that is not the distribution’s', () => {
    const one = { vendor: 'nvidia-cuda', name: 'cuda', version: '13.0', architecture: 'amd64' };
    expect(debianPurl({ ...one, repository: 'https://example.com/cuda?x' })).toBe(
      'pkg:deb/nvidia-cuda/cuda@13.0?arch=amd64&repository_url=https://example.com/cuda%3Fx',
    );
  });

  it.each([
    [{}, 'pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25'],
    [{ version: '2:7.50.3-1.fc25' }, 'pkg:rpm/fedora/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25&epoch=2'],
    [{ vendor: 'rhel' }, 'pkg:rpm/redhat/curl@7.50.3-1.fc25?arch=i386&distro=fedora-25'],
  ])('of rpm packages', (one, expected) => {
    const curl = { vendor: 'fedora', name: 'curl', version: '7.50.3-1.fc25' };
    expect(rpmPurl({ ...curl, architecture: 'i386', distribution: 'fedora-25', ...one })).toBe(expected);
  });

  it('of images have the digest, and the repository where there is one', () => {
    const digest = digestOf('node');
    const version = digest.replace(':', '%3A');
    expect(ociPurl('node', digest)).toBe(`pkg:oci/node@${version}`);
    expect(ociPurl('ghcr.io/org/vLLM', digest, 'v1')).toBe(
      `pkg:oci/vllm@${version}?repository_url=ghcr.io/org/vLLM&tag=v1`,
    );
  });
});
