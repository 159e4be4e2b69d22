import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parseGroup, parsePasswd, type Accounts } from './accounts.ts';
import { fixedNames, stableIds } from './stable-ids.ts';

const NONE: Accounts = { users: [], groups: [] };

/** Accounts as adduser makes them: the next free number each, in this order. */
function made(names: readonly string[], first = 100): Accounts {
  return {
    users: parsePasswd(names.map((name, at) => `${name}:x:${first + at}:${first + at + 7}::/:/bin/false`).join('\n')),
    groups: parseGroup(names.map((name, at) => `${name}:x:${first + at + 7}:`).join('\n')),
  };
}

function numbersOf(accounts: Accounts, before: Accounts = NONE): Map<string, [uid: number, gid: number]> {
  const { uids, gids } = stableIds(before, accounts, new Set());
  return new Map(
    accounts.users.map(({ name, uid, gid }) => [name, [uids.get(uid) ?? uid, gids.get(gid) ?? gid]]),
  );
}

const name = fc.stringMatching(/^[a-z][a-z-]{2,12}$/);
const names = fc.uniqueArray(name, { minLength: 1, maxLength: 60 });

describe('numbers of accounts', () => {
  it('do not depend on the order in which packages made them', () => {
    fc.assert(
      fc.property(
        names.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        ([one, other]) => {
          const sorted = (map: Map<string, unknown>): unknown[] => [...map].sort();
          expect(sorted(numbersOf(made(one)))).toEqual(sorted(numbersOf(made(other))));
        },
      ),
    );
  });

  it('are of system accounts, each its own, the user’s that of its group', () => {
    fc.assert(
      fc.property(names, (list) => {
        const numbers = [...numbersOf(made(list)).values()];
        for (const [uid, gid] of numbers) {
          expect(uid).toBe(gid);
          expect(uid).toBeGreaterThanOrEqual(100);
          expect(uid).toBeLessThan(1000);
        }
        expect(new Set(numbers.map(([uid]) => uid)).size).toBe(list.length);
      }),
    );
  });

  it('stay when an account is added, but for one whose number the new one asks for', () => {
    fc.assert(
      fc.property(names, name, (list, added) => {
        fc.pre(!list.includes(added));
        const before = numbersOf(made(list));
        const after = numbersOf(made([added, ...list]));
        const alone = numbersOf(made([added])).get(added)?.[0];
        const moved = list.filter((item) => before.get(item)?.[0] !== after.get(item)?.[0]);
        if (moved.length > 0) expect([...before.values()].map(([uid]) => uid)).toContain(alone);
      }),
    );
  });

  it('of real names stay', () => {
    const daemons = ['sshd', 'messagebus', 'systemd-network', 'systemd-timesync', 'polkitd', 'tcpdump', '_chrony'];
    const before = numbersOf(made(daemons));
    const after = numbersOf(made(['_rpc', 'nvidia-persistenced', ...daemons, 'zabbix']));
    for (const daemon of daemons) expect(after.get(daemon)).toEqual(before.get(daemon));
  });

  it('that were there before, that a fragment fixes, or that are no system accounts’ stay', () => {
    const before = made(['old'], 150);
    const { uids, gids } = stableIds(
      before,
      {
        users: [...before.users, ...made(['low'], 20).users, ...made(['fixed'], 300).users, ...made(['ops'], 1000).users],
        groups: before.groups,
      },
      new Set(['fixed']),
    );
    expect([uids.size, gids.size]).toEqual([0, 0]);
    expect(fixedNames(['# u no 5\nu one 300 "x"\nu! two 301:302\ng three 303\nu four -\nu five /usr/bin/x\nm six seven\n'])).toEqual(
      new Set(['one', 'two', 'three']),
    );
  });
});
