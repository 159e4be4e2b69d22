import { describe, expect, it } from 'vitest';

import { parseRepositories } from './repository-file.ts';

const VARIABLES = new Map([
  ['releasever', '42'],
  ['basearch', 'x86_64'],
]);

describe('parseRepositories', () => {
  it('reads what Fedora writes', () => {
    const text = `
[fedora]
name=Fedora $releasever - $basearch
#baseurl=http://download.example/pub/fedora/linux/releases/$releasever/Everything/$basearch/os/
metalink=https://mirrors.example/metalink?repo=fedora-$releasever&arch=\${basearch}
enabled=1
repo_gpgcheck=0
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-$releasever-$basearch
  file:///etc/pki/rpm-gpg/RPM-GPG-KEY-two

[fedora-source]
enabled=0
baseurl=https://example/source
`;
    expect(parseRepositories(text, VARIABLES)).toEqual([
      {
        id: 'fedora',
        baseUrls: [],
        mirrorList: 'https://mirrors.example/metalink?repo=fedora-42&arch=x86_64',
        signsPackages: true,
        signsIndex: false,
        keys: [
          'file:///etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-42-x86_64',
          'file:///etc/pki/rpm-gpg/RPM-GPG-KEY-two',
        ],
        priority: 99,
        excludes: [],
      },
    ]);
  });

  it('takes what says nothing of signatures for signed', () => {
    const [silent] = parseRepositories(
      '[a]\nbaseurl=https://example/a/ https://example/b/\npriority = 10\n',
      VARIABLES,
    );
    expect(silent).toMatchObject({
      signsPackages: true,
      baseUrls: ['https://example/a', 'https://example/b'],
      priority: 10,
    });
    const [open] = parseRepositories(
      '[a]\nbaseurl=https://example/a\ngpgcheck=0\nexclude=kernel* foo\n',
      VARIABLES,
    );
    expect(open).toMatchObject({ signsPackages: false, excludes: ['kernel*', 'foo'] });
  });
});
