import { expect, test } from 'vitest';

import { planFiles } from './plan-files.ts';
import type { Provisioning } from './provisioning.ts';

const NOTHING: Provisioning = { instance: 'i', users: [], networks: {}, files: [] };

function texts(
  provisioning: Partial<Provisioning>,
  accounts = [{ name: 'root', uid: 0 }],
): Record<string, string> {
  const files = planFiles({ ...NOTHING, ...provisioning }, accounts);
  return Object.fromEntries(files.map(({ path, contents }) => [path, Buffer.from(contents).toString()]));
}

test('nothing comes to nothing', () => {
  expect(texts({})).toEqual({});
});

test('new users get accounts, numbers that nobody has, homes and keys; root gets keys alone', () => {
  const user = { groups: [], sshKeys: [] };
  expect(
    texts(
      {
        users: [
          { ...user, name: 'root', sshKeys: ['k1', 'k2'] },
          { ...user, name: 'ops', groups: ['sudo'], gecos: 'O "x" 100%' },
          { ...user, name: 'fixed', uid: 1001 },
          { ...user, name: 'there', groups: ['adm'] },
        ],
      },
      [
        { name: 'root', uid: 0 },
        { name: 'there', uid: 1000 },
      ],
    ),
  ).toEqual({
    '/etc/sysusers.d/ingot-provision.conf':
      'u ops 1002 "O x 100%%" /home/ops /bin/bash\nu fixed 1001 "" /home/fixed /bin/bash\nm ops sudo\nm there adm\n',
    '/etc/tmpfiles.d/ingot-provision.conf':
      'd /var/home/ops 0700 ops ops -\nd /var/home/fixed 0700 fixed fixed -\n',
    '/etc/ssh/authorized_keys.d/root': 'k1\nk2\n',
  });
});

test('files that were asked for stay, what Ingot makes of the rest is its own', () => {
  const file = { path: '/etc/x', contents: Buffer.from('x'), mode: 0o600, user: 'root', group: 'root' };
  const planned = planFiles({ ...NOTHING, hostname: 'a', networks: { 'n.network': '' }, files: [file] }, []);
  expect(planned.map(({ path, isOurs }) => [path, isOurs])).toEqual([
    ['/etc/hostname', true],
    ['/etc/systemd/network/n.network', true],
    ['/etc/x', false],
  ]);
});
