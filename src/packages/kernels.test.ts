import { describe, expect, it } from 'vitest';

import { isKernelOf, kernelImages, kernelRelease } from './kernels.ts';
import { PackageIndex, sourceOfText } from './package-index.ts';

/** As in trixie: the release itself, and its security archive, which keeps earlier updates. */
const RELEASE = `Package: linux-image-6.12.94+deb13-amd64
Version: 6.12.94-1

Package: linux-image-6.12.94+deb13-amd64-unsigned
Version: 6.12.94-1

Package: linux-image-6.12.107+deb13-amd64
Version: 6.12.107-1

Package: linux-image-6.12.107+deb13-cloud-amd64
Version: 6.12.107-1

Package: linux-image-amd64
Version: 6.12.107-1
Depends: linux-image-6.12.107+deb13-amd64 (= 6.12.107-1)
`;
const SECURITY = `Package: linux-image-6.12.94+deb13-amd64
Version: 6.12.94-1

Package: linux-image-6.12.115+deb13-amd64
Version: 6.12.115-1

Package: linux-image-6.12.115+deb13.1-amd64
Version: 6.12.115-2

Package: linux-image-6.12.115+deb13.1-amd64-dbg
Version: 6.12.115-2

Package: linux-image-6.12.115+deb13.1-rt-amd64
Version: 6.12.115-2

Package: linux-image-amd64
Version: 6.12.115-2
Depends: linux-image-6.12.115+deb13.1-amd64 (= 6.12.115-2)
`;
const BOOKWORM = `Package: linux-image-6.1.0-9-amd64
Version: 6.1.27-1

Package: linux-image-6.1.0-40-amd64
Version: 6.1.153-1

Package: linux-image-amd64
Version: 6.1.153-1
Depends: linux-image-6.1.0-40-amd64 (= 6.1.153-1)
`;

function images(...texts: string[]): string[] {
  const index = new PackageIndex(texts.map((text) => sourceOfText('debian', text)));
  return kernelImages(index, 'linux-image-amd64').map(
    ({ name, metapackage }) =>
      `${name}${metapackage.version === undefined ? '' : ` by ${metapackage.version}`}`,
  );
}

describe('kernel images', () => {
  it('are those of the flavour, signed, newest first, each with what stands for it', () => {
    const expected = [
      'linux-image-6.12.115+deb13.1-amd64 by 6.12.115-2',
      'linux-image-6.12.115+deb13-amd64',
      'linux-image-6.12.107+deb13-amd64 by 6.12.107-1',
      'linux-image-6.12.94+deb13-amd64',
    ];
    expect(images(RELEASE, SECURITY)).toEqual(expected);
    expect(images(SECURITY, RELEASE)).toEqual(expected);
  });

  it('are ordered by the versions of the packages, as those of bookworm must be', () => {
    expect(images(BOOKWORM)).toEqual([
      'linux-image-6.1.0-40-amd64 by 6.1.153-1',
      'linux-image-6.1.0-9-amd64',
    ]);
  });

  it('tell whose headers are gone, or are of another version', () => {
    const headers = (release: string, version: string): string =>
      `\nPackage: linux-headers-${release}-amd64\nVersion: ${version}\n`;
    const text = SECURITY + headers('6.12.94+deb13', '6.12.94-2') + headers('6.12.115+deb13.1', '6.12.115-2');
    const index = new PackageIndex([sourceOfText('debian', text)]);
    expect(
      kernelImages(index, 'linux-image-amd64').map(({ version, lacksHeaders }) => [version, lacksHeaders]),
    ).toEqual([
      ['6.12.115-2', undefined],
      ['6.12.115-1', true],
      ['6.12.94-1', true],
    ]);
  });

  it('answer to the start of their version or release', () => {
    const image = { name: 'linux-image-6.12.94+deb13-amd64', version: '6.12.94-1' };
    expect(kernelRelease(image)).toBe('6.12.94+deb13-amd64');
    for (const asked of ['6', '6.12', '6.12.94', '6.12.94-1', '6.12.94+deb13'])
      expect(isKernelOf(image, asked)).toBe(true);
    for (const asked of ['6.1', '6.12.9', '6.12.94-2', '6.12.94+deb12'])
      expect(isKernelOf(image, asked)).toBe(false);
  });
});
