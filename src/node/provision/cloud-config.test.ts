import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';

import { FindingsError } from '../../errors.ts';
import { type NoCloudFiles, parseCloudConfig } from './cloud-config.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBSD02M90xM9yIOsq+yPaKJE9gHQPyHaIRiCqFm1rS7';

function messagesOf(files: NoCloudFiles): string {
  try {
    parseCloudConfig(files, '/seed');
  } catch (error) {
    if (!(error instanceof FindingsError)) throw error;
    return error.findings
      .map(({ message, location }) => `${location?.file ?? ''}:${location?.line ?? 0} ${message}`)
      .join('\n');
  }
  return '';
}

test('the three files of NoCloud come to one', () => {
  const { provisioning, warnings } = parseCloudConfig(
    {
      userData: `#cloud-config
users:
  - default
  - name: ops
    groups: sudo, adm
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: ['${KEY}']
ssh_authorized_keys: ['${KEY} root']
write_files:
  - { path: /etc/a, content: plain, owner: 'ops:adm', permissions: '0640' }
  - { path: /etc/b, content: aGk=, encoding: b64 }
  - { path: /etc/c, content: ${gzipSync('zip').toString('base64')}, encoding: gz+b64 }
packages: [htop]
`,
      metaData: 'instance-id: i-1\nlocal-hostname: from-meta\nregion: somewhere\n',
      networkConfig: 'network:\n  version: 2\n  ethernets:\n    enp1s0: { dhcp4: true }\n',
    },
    '/seed',
  );
  expect(provisioning).toMatchObject({
    instance: 'i-1',
    hostname: 'from-meta',
    users: [
      { name: 'ops', groups: ['sudo', 'adm'], sshKeys: [KEY] },
      { name: 'root', sshKeys: [`${KEY} root`] },
    ],
  });
  expect(provisioning.files.map(({ contents }) => Buffer.from(contents).toString())).toEqual([
    'plain',
    'hi',
    'zip',
  ]);
  expect(provisioning.files[0]).toMatchObject({ user: 'ops', group: 'adm', mode: 0o640 });
  expect(provisioning.networks['10-provision-enp1s0.network']).toContain('DHCP=ipv4');
  // Said, and not honoured.
  expect(warnings.map(({ message, location }) => `${location?.line ?? 0} ${message}`)).toEqual([
    '6 "sudo" is ignored',
    '13 "packages" is ignored',
  ]);
});

test('the host name of user-data wins', () => {
  const { provisioning } = parseCloudConfig(
    { userData: '#cloud-config\nfqdn: a.example.org\n', metaData: 'instance-id: x\nlocal-hostname: b\n' },
    '',
  );
  expect(provisioning.hostname).toBe('a.example.org');
});

test('without an instance-id, other data is another instance', () => {
  const of = (userData: string): string => parseCloudConfig({ userData }, '').provisioning.instance;
  expect(of('#cloud-config\nhostname: a\n')).not.toBe(of('#cloud-config\nhostname: b\n'));
  expect(of('#cloud-config\n')).toMatch(/^sha256:/);
});

describe('refused', () => {
  test.each<[string, NoCloudFiles, RegExp]>([
    [
      'a script',
      { userData: '#!/bin/sh\nrm -rf /\n' },
      /\/seed\/user-data:1 does not begin with #cloud-config/,
    ],
    ['multipart data', { userData: 'Content-Type: multipart/mixed\n' }, /does not begin/],
    [
      'network version 1',
      { networkConfig: 'version: 1\nconfig: []\n' },
      /network-config:1 version must be 2/,
    ],
    ['a bond', { networkConfig: 'version: 2\nethernets: {}\nbonds: {}\n' }, /:3 unknown key "bonds"/],
    [
      'content that is not base64',
      { userData: '#cloud-config\nwrite_files:\n  - { path: /etc/a, content: "!", encoding: b64 }\n' },
      /:3 write_files\[0\]\.content is not what its encoding says/,
    ],
    [
      'a path of the image',
      { userData: '#cloud-config\nwrite_files: [{ path: /usr/bin/x }]\n' },
      /under \/etc or \/var/,
    ],
    ['an instance-id with a slash', { metaData: 'instance-id: a/b\n' }, /meta-data:1 instance-id must be/],
  ])('%s', (_what, files, message) => {
    expect(messagesOf(files)).toMatch(message);
  });

  test('mistakes of all files together', () => {
    const messages = messagesOf({
      userData: '#cloud-config\nhostname: A_B\n',
      metaData: 'instance-id: [1]\n',
      networkConfig: 'version: 2\nethernets: { a: { mtu: 1 } }\n',
    });
    expect(messages.split('\n')).toHaveLength(3);
  });
});
