import { describe, expect, test } from 'vitest';

import {
  type BootFacts,
  describeBoot,
  isOnTrial,
  judgeBoot,
  nextEnvironment,
  parseBackReason,
} from './judge-boot.ts';

/** `new*` is booted; a name without id is a dash. */
function facts(
  entries: string,
  environment: Record<string, string> | undefined,
  back?: BootFacts['back'],
): BootFacts {
  return {
    entries: entries.split(' ').map((word) => {
      const name = word.replace('*', '');
      return { bootId: name === '-' ? undefined : name, isBooted: word.endsWith('*') };
    }),
    environment: environment === undefined ? undefined : new Map(Object.entries(environment)),
    back,
  };
}

const after = (given: BootFacts, entries = given.entries): object | undefined => {
  const next = nextEnvironment(judgeBoot(given), entries, given.environment);
  return next === undefined ? undefined : Object.fromEntries(next);
};

describe('what runs is good', () => {
  test.each([
    ['the first system of a new disk', facts('one*', {}), { good_id: 'one' }],
    [
      'an update on trial',
      facts('two* one', { good_id: 'one', try_id: 'two', tries: '3' }),
      { good_id: 'two' },
    ],
    ['on its last try', facts('two* one', { good_id: 'one', try_id: 'two', tries: '1' }), { good_id: 'two' }],
    [
      'chosen by hand after GRUB went back',
      facts('two* one', { good_id: 'one', try_id: 'two', tries: '0' }),
      { good_id: 'two' },
    ],
    ['with a block that cannot be read', facts('two*', undefined), { good_id: 'two' }],
    [
      'and others have something in the block',
      facts('two*', { saved_entry: '1' }),
      { good_id: 'two', saved_entry: '1' },
    ],
    [
      'gone back to by hand',
      facts('one* two', { good_id: 'two', try_id: 'one', tries: '3' }),
      { good_id: 'one' },
    ],
  ])('%s', (_name, given, environment) => {
    expect(judgeBoot(given).kind).toBe('good');
    expect(after(given)).toEqual(environment);
  });
});

test('what is known to be good is left alone, but for leftovers of another', () => {
  const tidy = facts('two* one', { good_id: 'two' });
  expect(judgeBoot(tidy)).toEqual({ kind: 'known', id: 'two', isTidy: true });
  expect(after(tidy)).toBeUndefined();
  expect(after(facts('two* one', { good_id: 'two', try_id: 'three', tries: '0' }))).toEqual({
    good_id: 'two',
  });
});

describe('GRUB went back', () => {
  test.each([
    [
      'to the second',
      facts('bad good*', { good_id: 'good', try_id: 'bad', tries: '0' }, 'tries'),
      'good* ',
      { good_id: 'good' },
    ],
    [
      'past another',
      facts('bad old good*', { good_id: 'good', try_id: 'bad', tries: '0' }, 'tries'),
      'old good*',
      { good_id: 'good' },
    ],
    ['to one without an id', facts('bad -*', { try_id: 'bad', tries: '0' }, 'tries'), '-*', {}],
    [
      'to one that nobody knows yet',
      facts('bad one*', { try_id: 'bad', tries: '0' }),
      'one*',
      { good_id: 'one' },
    ],
    [
      'and a person chose a third',
      facts('bad good old*', { good_id: 'good', try_id: 'bad', tries: '0' }),
      'good old*',
      { good_id: 'good' },
    ],
    [
      'when the kernel could not be loaded',
      facts('bad good*', { good_id: 'good', try_id: 'bad', tries: '0' }, 'unloadable'),
      'good*',
      { good_id: 'good' },
    ],
  ])('%s', (_name, given, entries, environment) => {
    expect(judgeBoot(given)).toEqual({ kind: 'back', badId: 'bad', reason: given.back ?? 'tries' });
    expect(after(given, facts(entries.trim(), {}).entries)).toEqual(environment);
  });
});

describe('it changes nothing', () => {
  test.each([
    ['an older system that a person chose', facts('two one*', { good_id: 'two' })],
    [
      'one that a person chose while another is on trial',
      facts('two one*', { good_id: 'one', try_id: 'two', tries: '2' }),
    ],
    ['a system that is being left by hand', facts('one two*', { good_id: 'one', try_id: 'two', tries: '3' })],
    ['a count of something that is gone', facts('three one*', { good_id: 'one', try_id: 'two', tries: '0' })],
    ['a second entry of a menu without ids', facts('- -*', {})],
    ['no entry for what runs', facts('two one', { good_id: 'one' })],
  ])('%s', (_name, given) => {
    expect(judgeBoot(given).kind).toBe('other');
    expect(after(given)).toBeUndefined();
  });

  test('a system without an id', () => {
    expect(judgeBoot(facts('-* one', { good_id: 'one' })).kind).toBe('nameless');
  });
});

test.each([
  ['cannot be read', facts('two one*', undefined), { good_id: 'one' }],
  [
    'cannot be written by GRUB',
    facts('two one*', { good_id: 'one', tries: '3' }, 'environment'),
    { good_id: 'one' },
  ],
  [
    'knows one that stands elsewhere',
    facts('two old one*', { good_id: 'old' }, 'environment'),
    { good_id: 'old' },
  ],
])('an environment that %s is written, and the update has all its tries', (_name, given, environment) => {
  expect(judgeBoot(given).kind).toBe('uncounted');
  expect(after(given)).toEqual(environment);
});

test('status says what is counted', () => {
  expect(describeBoot(facts('two* one', { good_id: 'one', try_id: 'two', tries: '2' }))).toEqual({
    id: 'two',
    blessed: false,
    good: 'one',
    tries: 2,
  });
  expect(describeBoot(facts('two one*', { good_id: 'one', try_id: 'two', tries: '0' }, 'tries'))).toEqual({
    id: 'one',
    blessed: true,
    good: 'one',
    tries: 0,
    next: 'two',
    back: 'tries',
  });
  expect(describeBoot(facts('-*', undefined))).toEqual({ blessed: false });
});

test.each([
  ['an update that has not passed its checks yet', facts('two* one', { good_id: 'one' }), true],
  ['one that has', facts('two* one', { good_id: 'two' }), false],
  ['the only system', facts('one*', {}), false],
  ['an older one, by hand', facts('two one*', { good_id: 'two' }), false],
  ['one without an id', facts('-* one', { good_id: 'one' }), false],
])('%s is on trial: %#', (_name, given, expected) => {
  expect(isOnTrial(describeBoot(given))).toBe(expected);
});

test('the kernel command line says why GRUB went back', () => {
  expect(parseBackReason('root=UUID=1 rw ingot.id=a-1 ingot.back=unloadable\n')).toBe('unloadable');
  expect(parseBackReason('ingot.back=tries rw')).toBe('tries');
  for (const text of ['', 'ingot.back=', 'ingot.back=nonsense', 'xingot.back=tries']) {
    expect(parseBackReason(text)).toBeUndefined();
  }
});
