import { describe, expect, it } from 'vitest';

import { FindingsError } from '../../errors.ts';
import type { User } from '../../spec/node-image.ts';
import {
  declaredSysusers,
  homeTmpfiles,
  parseGroup,
  parsePasswd,
  remainingSysusers,
  type Accounts,
} from './accounts.ts';

const existing: Accounts = {
  users: parsePasswd(
    'root:x:0:0:root:/root:/bin/bash\n_ssh:x:101:101::/run/sshd:/usr/sbin/nologin\n\n# no record\n',
  ),
  groups: parseGroup('root:x:0:\nsudo:x:27:ops,dev\n_ssh:x:101:\nvideo:x:1001:\n'),
};

function user(name: string, more: Partial<User> = {}): User {
  return { name, gecos: '', shell: '/bin/bash', groups: [], sshKeys: [], ...more };
}

function messagesOf(work: () => unknown): string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof FindingsError) return error.findings.map(({ code, message }) => `${code}: ${message}`);
    throw error;
  }
  return [];
}

describe('account files', () => {
  it('are read by field', () => {
    expect(existing.users).toEqual([
      { name: 'root', uid: 0, gid: 0, gecos: 'root', home: '/root', shell: '/bin/bash' },
      { name: '_ssh', uid: 101, gid: 101, gecos: '', home: '/run/sshd', shell: '/usr/sbin/nologin' },
    ]);
    expect(existing.groups[1]).toEqual({ name: 'sudo', gid: 27, members: ['ops', 'dev'] });
  });
});

describe('declaredSysusers', () => {
  it('numbers users upwards from 1000, past every number that is taken', () => {
    const lines = declaredSysusers(
      { users: [user('ops'), user('fixed', { uid: 1002 }), user('dev')], groups: [] },
      existing,
    );
    // 1001 is video's, 1002 is declared below.
    expect(lines.match(/^u .*$/gm)).toEqual([
      'u ops 1000:ops "" /var/home/ops /bin/bash',
      'u fixed 1002:fixed "" /var/home/fixed /bin/bash',
      'u dev 1003:dev "" /var/home/dev /bin/bash',
    ]);
  });

  it('moves nobody when a user is added at the end', () => {
    const one = declaredSysusers({ users: [user('ops')], groups: [] }, existing);
    const two = declaredSysusers({ users: [user('ops'), user('dev')], groups: [] }, existing);
    expect(two.startsWith(one)).toBe(true);
  });

  it('makes declared groups, and members of declared and existing ones', () => {
    const lines = declaredSysusers(
      { users: [user('ops', { groups: ['sudo', 'models'] })], groups: [{ name: 'models', gid: 4000 }] },
      existing,
    );
    expect(lines).toBe(
      'g models 4000\ng ops 1000\nu ops 1000:ops "" /var/home/ops /bin/bash\nm ops sudo\nm ops models\n',
    );
  });

  it('keeps a quotation mark in a comment from ending it', () => {
    expect(declaredSysusers({ users: [user('ops', { gecos: 'a "b"' })], groups: [] }, existing)).toContain(
      `"a 'b'"`,
    );
  });

  it('names every clash with the image at once', () => {
    const declared = {
      users: [user('_ssh'), user('ops', { uid: 101 }), user('dev', { groups: ['docker'] })],
      groups: [{ name: 'models', gid: 27 }],
    };
    expect(messagesOf(() => declaredSysusers(declared, existing))).toEqual([
      "SPEC_INVALID: group models: GID 27 is sudo's in this image",
      'SPEC_INVALID: user _ssh exists in the image already: a package makes it',
      "SPEC_INVALID: user ops: UID 101 is _ssh's in this image",
      'SPEC_INVALID: user dev: there is no group docker in this image; declare it in groups',
    ]);
  });
});

describe('remainingSysusers', () => {
  it('explains every account that no fragment explains', () => {
    const fragments = ['u root 0 "Super User" /root\n', '# comment\ng sudo 27\n'];
    expect(remainingSysusers(existing, fragments)).toBe(
      'g _ssh 101\ng video 1001\nu _ssh 101:_ssh "" /run/sshd /usr/sbin/nologin\n',
    );
  });

  it('is empty when everything is explained', () => {
    const rest = remainingSysusers(existing, ['u root 0\n']);
    expect(remainingSysusers(existing, ['u root 0\n', rest])).toBe('');
  });
});

describe('homeTmpfiles', () => {
  it('gives a home to its user alone', () => {
    expect(homeTmpfiles([user('ops')])).toBe('d /var/home/ops 0700 ops ops -\n');
  });
});
