import { describe, expect, test } from 'vitest';

import { FindingsError } from '../../errors.ts';
import { parseProvisioning } from './find-source.ts';

const KEY =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPBSD02M90xM9yIOsq+yPaKJE9gHQPyHaIRiCqFm1rS7 ops@example.org';

const WHOLE = `instance: rack7-node3
hostname: node3
users:
  - name: root
    sshKeys: ['${KEY}']
  - { name: ops, groups: [sudo], gecos: Operations }
network:
  ethernets:
    lan:
      match: { macaddress: '52:54:00:12:34:56' }
      addresses: [192.0.2.7/24, '2001:db8::7/64']
      gateway4: 192.0.2.1
      nameservers: { addresses: [192.0.2.53], search: [example.org] }
files:
  - { path: /etc/motd, content: hello, mode: '0600' }
`;

function findingsOf(text: string): string[] {
  try {
    parseProvisioning(text, 'p.yaml');
  } catch (error) {
    if (!(error instanceof FindingsError)) throw error;
    return error.findings.map(
      ({ message, location }) => `${location?.line ?? 0}:${location?.column ?? 0} ${message}`,
    );
  }
  return [];
}

test('a whole file is read', () => {
  const { provisioning, warnings } = parseProvisioning(WHOLE, 'p.yaml');
  expect(warnings).toEqual([]);
  expect(provisioning).toMatchObject({
    instance: 'rack7-node3',
    hostname: 'node3',
    users: [
      { name: 'root', groups: [], sshKeys: [KEY] },
      { name: 'ops', groups: ['sudo'], gecos: 'Operations', sshKeys: [] },
    ],
    files: [{ path: '/etc/motd', mode: 0o600, user: 'root', group: 'root' }],
  });
  expect(Object.keys(provisioning.networks)).toEqual(['10-provision-lan.network']);
});

test('without an instance, another text is another instance', () => {
  const of = (text: string): string => parseProvisioning(text, 'p.yaml').provisioning.instance;
  expect(of('hostname: a')).toMatch(/^sha256:/);
  expect(of('hostname: a')).toBe(of('hostname: a'));
  expect(of('hostname: a')).not.toBe(of('hostname: b'));
});

test('JSON is read as well', () => {
  expect(parseProvisioning('{"hostname": "a"}', 'p.json').provisioning.hostname).toBe('a');
});

test('all mistakes are found at once, each at its place', () => {
  const text = `hostname: Node_3
usres: []
users:
  - { name: root, sshKeys: [not a key] }
files:
  - { path: /usr/bin/x, content: '' }
  - { path: /etc/../x, content: '' }
  - { path: /etc/passwd, content: '' }
  - { path: /var/lib/ingot/journal.jsonl, content: '' }
network: { ethernets: { lan: { dhcp: true, addresses: [192.0.2.7] } } }
`;
  const found = findingsOf(text).join('\n');
  expect(found).toMatch(/^1:11 hostname must be a host name/m);
  expect(found).toMatch(/^2:1 unknown key "usres"/m);
  expect(found).toMatch(/^4:\d+ users\[0\]\.sshKeys\[0\] is not an SSH public key/m);
  expect(found).toMatch(/^6:\d+ .*under \/etc or \/var/m);
  expect(found).toMatch(/^7:\d+ .*not a plain path/m);
  expect(found).toMatch(/^8:\d+ .*not for provisioning/m);
  expect(found).toMatch(/^9:\d+ .*not for provisioning/m);
  expect(found).toMatch(/^10:\d+ unknown key "dhcp"/m);
  expect(found).toMatch(/^10:\d+ .*is no address with a prefix length/m);
  expect(findingsOf(text)).toHaveLength(9);
});

describe('refused', () => {
  test.each([
    ['a user twice', 'users: [{ name: a }, { name: a }]', /users\[1\]\.name is given twice/],
    ['a path twice', 'files: [{ path: /etc/a, content: "" }, { path: /etc/a, content: "" }]', /given twice/],
    ['an empty file', '', /empty/],
    ['a list', '- a', /must be a mapping/],
    ['a private key', 'users: [{ name: a, sshKeys: ["-----BEGIN PRIVATE KEY-----"] }]', /is a private key/],
  ])('%s', (_what, text, message) => {
    expect(findingsOf(text).join('\n')).toMatch(message);
  });

  test('and what was pasted is not shown', () => {
    expect(findingsOf('users: [{ name: a, sshKeys: [s3cret] }]').join()).not.toContain('s3cret');
  });
});
