/**
 * OpenSSH's client, 8.4 and later. Manuals: ssh(1), ssh_config(5). Everything that the user's own configuration says
 * of a host holds; what is set here makes it a program's tool: no questions, no terminal, and an end to every wait.
 */
import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

export interface SshHost {
  readonly user: string | undefined;
  /** A name, an address, or a `Host` of ssh_config(5). */
  readonly host: string;
  readonly port: number | undefined;
}

/** ssh's own failure, whatever the command on the other side exits with. */
export const SSH_FAILED = 255;
/** A shell's, when it finds no such command. */
export const COMMAND_UNKNOWN = 127;

const CONNECT_SECONDS = 15;

/** `ssh://[user@]host[:port]`. @throws IngotError USAGE */
export function parseSshUrl(text: string): SshHost {
  const [, user, bracketed, plain, port] =
    /^ssh:\/\/(?:([\w.][\w.@+-]*)@)?(?:\[([0-9a-fA-F:.%\w]+)\]|([\w](?:[\w.-]*[\w])?))(?::(\d{1,5}))?\/?$/.exec(
      text,
    ) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) {
    throw new IngotError('USAGE', `${JSON.stringify(text)} is no address for ssh`, {
      hint: 'write ssh://HOST, ssh://USER@HOST or ssh://USER@HOST:PORT; keys and passwords are ssh’s own matter',
    });
  }
  return { user, host, port: port === undefined ? undefined : Number(port) };
}

/** @param configuration in the place of the user's own file */
export function sshArgv(
  { user, host, port }: SshHost,
  command: string,
  { configuration }: { readonly configuration?: string | undefined } = {},
): Argv {
  const options = [
    'BatchMode=yes',
    `ConnectTimeout=${CONNECT_SECONDS}`,
    // A machine that has gone is noticed within a minute.
    'ServerAliveInterval=15',
    'ServerAliveCountMax=4',
    'LogLevel=ERROR',
    'RemoteCommand=none',
    'ClearAllForwardings=yes',
  ];
  return [
    ...(['ssh', '-T'] as const),
    ...(configuration === undefined ? [] : ['-F', configuration]),
    ...options.flatMap((option) => ['-o', option]),
    ...(user === undefined ? [] : ['-l', user]),
    ...(port === undefined ? [] : ['-p', String(port)]),
    '--',
    host,
    command,
  ];
}

/**
 * The words for the login shell of the other side, which is any: in quotes, each is one word for every shell there is.
 *
 * @throws IngotError USAGE for characters that no quotes hold in all of them
 */
export function quoteForRemoteShell(words: readonly string[]): string {
  return words
    .map((word) => {
      // eslint-disable-next-line no-control-regex -- exactly these are meant
      if (/[\u0000-\u001f\u007f]/.test(word)) {
        throw new IngotError('USAGE', `${JSON.stringify(word)} has characters that cannot be sent to a node`);
      }
      return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
    })
    .join(' ');
}

const REASONS: readonly (readonly [RegExp, string, string])[] = [
  [
    /Could not resolve hostname/i,
    'its name is not known',
    'is it spelt as in DNS, or as a Host of your ~/.ssh/config?',
  ],
  [/Connection refused/i, 'it takes no connections there', 'does its ssh server run, and on this port?'],
  [
    /timed out|No route to host|Network is unreachable|Host is down/i,
    'it does not answer',
    'is it up, and the network there open for ssh?',
  ],
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/i,
    'it is not the machine that it was: its host key has changed',
    'a node that was installed anew has a new key: when that is why, `ssh-keygen -R HOST` forgets the old one',
  ],
  [
    /Host key verification failed|No \S+ host key is known/i,
    'its host key is not known here',
    'connect once with ssh and compare the key, or put it into known_hosts',
  ],
  [
    /Permission denied/i,
    'it does not let this user in',
    'a key without a password, or one in ssh-agent, is needed: nothing is asked for here',
  ],
  [/kex_exchange_identification|Connection (?:closed|reset)|Broken pipe/i, 'the connection was cut', ''],
];

/** What ssh said, in the terms of who asked. @param shown the host, as it was written */
export function sshFailure(shown: string, stderr: string): IngotError {
  const [, what = 'ssh failed', hint = ''] = REASONS.find(([pattern]) => pattern.test(stderr)) ?? [];
  return new IngotError('NODE_UNREACHABLE', `${shown} cannot be reached: ${what}`, {
    output: stderr.trim(),
    ...(hint !== '' && { hint }),
  });
}
