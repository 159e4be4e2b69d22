import { describe, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { parseUnmet, parseUpdateFailure } from './apt-failures.ts';
import {
  armourKeyring,
  parseIndexTargets,
  parseDownloads,
  renderAptState,
  renderPins,
  solveArgv,
  withoutOutput,
} from './apt.ts';

const HOST = 'http://127.0.0.1:46107';

/** Captured from apt 2.6.1. */
const FAILURES: readonly [string, string, ReturnType<typeof parseUpdateFailure>][] = [
  [
    'unknown key',
    `Err:1 ${HOST} tiny InRelease
  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 26E66E3EB803D3EB
W: GPG error: ${HOST} tiny InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 26E66E3EB803D3EB
E: The repository '${HOST} tiny InRelease' is not signed.`,
    { kind: 'signature' },
  ],
  [
    'damaged release file',
    `W: GPG error: ${HOST} tiny InRelease: The following signatures were invalid: BADSIG 26E66E3EB803D3EB Test Archive
E: The repository '${HOST} tiny InRelease' is not signed.`,
    { kind: 'signature' },
  ],
  [
    'damaged index',
    `Err:2 ${HOST} tiny/main amd64 Packages
  Hash Sum mismatch
E: Failed to fetch ${HOST}/dists/tiny/main/binary-amd64/Packages  Hash Sum mismatch
E: Some index files failed to download. They have been ignored, or old ones used instead.`,
    { kind: 'corrupt' },
  ],
  [
    'no such suite',
    `Ign:1 ${HOST} nosuite InRelease
Err:2 ${HOST} nosuite Release
  404  Not Found [IP: 127.0.0.1 35789]
E: The repository '${HOST} nosuite Release' does not have a Release file.`,
    { kind: 'missing' },
  ],
  [
    'no such folder',
    `Err:2 file:/nonexistent/x tiny Release
  File not found - /nonexistent/x/dists/tiny/Release (2: No such file or directory)
E: The repository 'file:/nonexistent/x tiny Release' does not have a Release file.`,
    { kind: 'missing' },
  ],
  [
    'refused',
    `Err:1 ${HOST} tiny InRelease
  403  Forbidden [IP: 127.0.0.1 33525]
E: Failed to fetch ${HOST}/dists/tiny/InRelease  403  Forbidden [IP: 127.0.0.1 33525]
E: The repository '${HOST} tiny InRelease' is not signed.`,
    { kind: 'unreachable', reason: 'it refuses to give them' },
  ],
  [
    'server error',
    `Err:1 ${HOST} tiny InRelease
  500  Internal Server Error [IP: 127.0.0.1 44107]
E: Failed to fetch ${HOST}/dists/tiny/InRelease  500  Internal Server Error [IP: 127.0.0.1 44107]`,
    { kind: 'unreachable', reason: 'it answers with an error' },
  ],
  [
    'silence',
    `Err:1 ${HOST} tiny InRelease
  Connection timed out [IP: 127.0.0.1 46863]`,
    { kind: 'unreachable', reason: 'timed out' },
  ],
  [
    'cut',
    `Err:1 ${HOST} tiny InRelease
  Error reading from server. Remote end closed connection [IP: 127.0.0.1 43999]`,
    { kind: 'unreachable', reason: 'the connection was cut' },
  ],
  [
    'unknown name',
    `Err:1 http://no-such-host.invalid/debian tiny InRelease
  Could not resolve 'no-such-host.invalid'`,
    { kind: 'unreachable', reason: 'its name cannot be resolved' },
  ],
  [
    'nobody there',
    `Err:1 http://127.0.0.1:9/debian tiny InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)`,
    { kind: 'unreachable', reason: 'connection refused' },
  ],
  [
    'past its date',
    `E: Release file for ${HOST}/dists/tiny/InRelease is expired (invalid since 3d 0h 0min 0s). Updates for this repository will not be applied.`,
    { kind: 'expired' },
  ],
  [
    'anything else',
    `E: Something about http://user:pw@host/x failed`,
    { kind: 'other', reason: 'Something about the archive failed' },
  ],
];

test.each(FAILURES)('update failure: %s', (_name, output, expected) => {
  expect(parseUpdateFailure(output)).toEqual(expected);
});

test('unmet dependencies, several of one package too', () => {
  const output = `Reading package lists...
Some packages could not be installed. This may mean that you have
requested an impossible situation
The following information may help to resolve the situation:

The following packages have unmet dependencies:
 systemd-sysv : Conflicts: sysvinit-core but 3.14-4 is to be installed
 sysvinit-core : Depends: initscripts but it is not installable
                 Conflicts: systemd-sysv but 257.13-1~deb13u1 is to be installed
`;
  expect(parseUnmet(output)).toEqual([
    { package: 'systemd-sysv', reason: 'Conflicts: sysvinit-core but 3.14-4 is to be installed' },
    { package: 'sysvinit-core', reason: 'Depends: initscripts but it is not installable' },
    { package: 'sysvinit-core', reason: 'Conflicts: systemd-sysv but 257.13-1~deb13u1 is to be installed' },
  ]);
  expect(parseUnmet('E: something else')).toEqual([]);
});

test('what would be installed, by what would be downloaded', () => {
  const output = `NOTE: This is only a simulation!
Reading package lists...
The following NEW packages will be installed:
  bash dash libstdc++6
0 upgraded, 3 newly installed, 0 to remove and 0 not upgraded.
Need to get 2,345 kB of archives.
'http://user:p%40w@mirror.example/debian/pool/main/b/bash/bash_5.2.37-2%2bb5_amd64.deb' bash_5.2.37-2+b5_amd64.deb 1498236 MD5Sum:0a
'http://mirror.example/debian/pool/main/d/dash/dash_0.5.12-12_amd64.deb' dash_1%3a0.5.12-12~deb13u1_all.deb 97768 SHA256:0b
'file:/srv/x/libstdc++6_14.2.0-19_amd64.deb' libstdc++6_14.2.0-19_amd64.deb 714328${' '}
`;
  expect(parseDownloads(output)).toEqual([
    { name: 'bash', version: '5.2.37-2+b5' },
    { name: 'dash', version: '1:0.5.12-12~deb13u1' },
    { name: 'libstdc++6', version: '14.2.0-19' },
  ]);
  for (const broken of [output.replace('dash_1', 'dash'), output.replace('3 newly', '4 newly'), '']) {
    expect(() => parseDownloads(broken)).toThrow(expect.objectContaining({ code: 'TOOL_FAILED' }));
  }
});

test('index targets, before and after the first update', () => {
  const before = ['http://mirror.example/debian/', 'trixie', '', 'main', '/lists/x'].join('\t');
  const after = ['http://mirror.example/debian/', 'trixie', 'Debian', 'main', '/lists/x'].join('\t');
  expect(parseIndexTargets(`${before}\n${after}\n`)).toEqual([
    {
      uri: 'http://mirror.example/debian/',
      release: 'trixie',
      label: '',
      component: 'main',
      file: '/lists/x',
    },
    {
      uri: 'http://mirror.example/debian/',
      release: 'trixie',
      label: 'Debian',
      component: 'main',
      file: '/lists/x',
    },
  ]);
});

test('what apt said is not in an error: it names the mirror', async () => {
  const script = 'echo "Get:1 http://user:word@mirror.example/debian trixie InRelease"; sleep 60';
  const failure: unknown = await withoutOutput(run(['sh', '-c', script], { timeoutMs: 300 })).catch(
    (error: unknown) => error,
  );
  expect(failure).toMatchObject({ code: 'TIMEOUT', output: undefined });
  expect(String(failure)).not.toContain('mirror.example');
});

test('pins hold even an older version', () => {
  expect(renderPins([{ name: 'bash', version: '1:5-1' }])).toBe(
    'Package: bash\nPin: version 1:5-1\nPin-Priority: 1001\n',
  );
});

test('nothing that is wanted is taken for an option', () => {
  expect(solveArgv(['bash'], {}).slice(-2)).toEqual(['--', 'bash']);
});

describe('a private state', () => {
  const source = {
    uri: 'http://mirror.example/debian',
    suites: ['trixie', 'trixie-updates'],
    components: ['main'],
    keys: armourKeyring(Buffer.from([1, 2, 3])),
    checkValidUntil: false,
  };

  test('has absolute paths and the keys themselves', () => {
    const files = renderAptState('/tmp/ä b/apt', 'amd64', [source]);
    expect(files.get('apt.conf')).toContain('Dir::State::lists "/tmp/ä b/apt/lists";');
    expect(files.get('sources.sources')).toBe(`Types: deb
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
Check-Valid-Until: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AQID
 -----END PGP PUBLIC KEY BLOCK-----
`);
  });

  test('refuses a path that apt cannot be told of', () => {
    expect(() => renderAptState('/tmp/a"b', 'amd64', [source])).toThrow(
      expect.objectContaining({ code: 'ENVIRONMENT' }),
    );
  });

  test('keeps keys that are armoured already', () => {
    expect(armourKeyring(Buffer.from(armourKeyring(Buffer.from('x'))))).toBe(armourKeyring(Buffer.from('x')));
  });
});
