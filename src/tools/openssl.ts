/**
 * openssl with the engine of libp11 (Debian: openssl, libengine-pkcs11-openssl), which signs with a key that a PKCS#11
 * token holds. Of the programs that can, on Debian 12 and later, it alone takes the PIN from standard input:
 * pkcs11-tool(1) wants it as an argument, in the environment, or from a terminal.
 */
import { IngotError } from '../errors.ts';
import type { Argv } from '../proc/run.ts';

/**
 * RSA PKCS#1 v1.5 over the SHA-256 digest in the file `digest`; the PIN on stdin, the signature on stdout.
 * No core is dumped, which would hold the PIN: where the token refuses, the engine crashes after it has said why.
 */
export function signWithTokenArgv(keyUri: string, digest: string): Argv {
  return [
    ...(['prlimit', '--core=0:0', 'openssl', 'pkeyutl', '-sign'] as const),
    ...['-engine', 'pkcs11', '-keyform', 'engine', '-inkey', keyUri, '-passin', 'stdin'],
    ...['-pkeyopt', 'rsa_padding_mode:pkcs1', '-pkeyopt', 'digest:sha256', '-in', digest],
  ];
}

/** What openssl or the engine said, by what it means. The first that matches counts: what comes later follows from it. */
const CAUSES: readonly (readonly [RegExp, () => IngotError])[] = [
  [
    /(?:invalid|no such) engine/i,
    () =>
      new IngotError('TOOL_MISSING', 'openssl has no engine for PKCS#11 tokens', {
        hint: 'apt-get install libengine-pkcs11-openssl',
      }),
  ],
  [
    /unable to load (?:pkcs#11 )?module/i,
    () =>
      new IngotError('USAGE', 'the PKCS#11 module cannot be loaded', {
        hint: 'name the library of your token: ?module-path=/usr/lib/…/NAME.so at the end of the URI',
      }),
  ],
  [
    /PIN locked/i,
    () =>
      new IngotError('USAGE', 'the token of --module-key has locked its PIN', {
        hint: 'its security officer can unlock it',
      }),
  ],
  [
    /PIN (?:incorrect|invalid|len range|expired)/i,
    () =>
      new IngotError('USAGE', 'the token of --module-key refuses the PIN; it was tried once', {
        hint: 'most tokens lock themselves after a few wrong ones',
      }),
  ],
  [
    /no matching initialized token|no slot with a token was found/i,
    () =>
      new IngotError('USAGE', 'the token that --module-key names is not there', {
        hint: '`p11-kit list-modules` shows the tokens that are; ?module-path= names a module that p11-kit does not know',
      }),
  ],
  [
    /private key was not found|object not found/i,
    () =>
      new IngotError('USAGE', 'the token has no private key as --module-key names it', {
        hint: '`pkcs11-tool --list-objects --login` shows those it has',
      }),
  ],
  [
    /set parameter "?rsa_padding_mode/i,
    () =>
      new IngotError('USAGE', 'the key that --module-key names is not RSA, and modules are signed with RSA', {
        hint: 'other signatures hold a random number, so that no two builds would be the same',
      }),
  ],
];

/** The error that output of `signWithTokenArgv` stands for, if it is a known one. */
export function tokenFailure(output: string): IngotError | undefined {
  return CAUSES.find(([pattern]) => pattern.test(output))?.[1]();
}
