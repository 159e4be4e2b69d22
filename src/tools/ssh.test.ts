import fc from 'fast-check';
import { expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { parseSshUrl, quoteForRemoteShell, sshArgv, sshFailure } from './ssh.ts';

test.each([
  ['ssh://node', { user: undefined, host: 'node', port: undefined }],
  ['ssh://root@node.example.com:2222', { user: 'root', host: 'node.example.com', port: 2222 }],
  ['ssh://ops@[2001:db8::1]:22/', { user: 'ops', host: '2001:db8::1', port: 22 }],
  ['ssh://me@corp@node', { user: 'me@corp', host: 'node', port: undefined }],
])('%s', (text, expected) => {
  expect(parseSshUrl(text)).toEqual(expected);
});

test.each([
  ...[
    'node',
    'http://node',
    'ssh://',
    'ssh://-oProxyCommand=x',
    'ssh://-l@node',
    'ssh://a b',
    'ssh://node:0',
  ],
  ...['ssh://node:70000', 'ssh://node/path', 'ssh://user:password@node', 'ssh://node;reboot', 'ssh://$(x)'],
])('%s is refused', (text) => {
  expect(() => parseSshUrl(text)).toThrow(expect.objectContaining({ code: 'USAGE' }) as Error);
});

test('an argument vector asks nothing and names the host after the last option', () => {
  const argv = sshArgv({ user: 'root', host: 'node', port: 22 }, 'ingot', { configuration: '/c' });
  expect(argv).toEqual(expect.arrayContaining(['BatchMode=yes', '-F', '/c', '-l', 'root', '-p', '22']));
  expect(argv.slice(-3)).toEqual(['--', 'node', 'ingot']);
});

test('a shell takes every word for what it is', async () => {
  const text = fc.string({ unit: 'grapheme' }).filter((word) => !/\p{Cc}/u.test(word));
  const words = fc.array(
    fc.oneof(text, fc.constantFrom(`a'b`, '$(x)', '`x`', '-e', '*', '~', '', '!!', '\\')),
  );
  await fc.assert(
    fc.asyncProperty(words, async (given) => {
      const quoted = quoteForRemoteShell(given);
      const { stdout } = await run(['sh', '-c', `printf '<%s>\\n' ${quoted}`]);
      expect(stdout).toBe(given.length === 0 ? '<>' : given.map((word) => `<${word}>`).join('\n'));
    }),
    { numRuns: 60 },
  );
  expect(() => quoteForRemoteShell(['a\nb'])).toThrow(expect.objectContaining({ code: 'USAGE' }) as Error);
});

/** As OpenSSH 9.2 says it. */
test.each([
  ['ssh: Could not resolve hostname nowhere.invalid: Name or service not known', /name is not known/],
  ['ssh: connect to host 127.0.0.1 port 9: Connection refused', /takes no connections/],
  ['ssh: connect to host 192.0.2.1 port 22: Connection timed out', /does not answer/],
  [
    'No ED25519 host key is known for [127.0.0.1]:1 and you have requested strict checking.',
    /key is not known/,
  ],
  ['root@127.0.0.1: Permission denied (publickey).', /does not let this user in/],
  ['@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.', /has changed/],
  ['something new', /ssh failed/],
])('%s', (stderr, expected) => {
  const error = sshFailure('ssh://node', stderr);
  expect(error).toMatchObject({ code: 'NODE_UNREACHABLE', output: stderr });
  expect(error.message).toMatch(expected);
});
