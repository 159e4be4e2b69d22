/** Asks for a password on the terminal, without showing it. Whatever happens, the terminal is left as it was. */
import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import type { CommandContext } from './context.ts';
import { readPasswordDescriptor } from './read-descriptor.ts';

export interface PasswordFlags {
  readonly passwordFd?: string;
  readonly passwordFile?: string;
}

const MAX_PASSWORD_BYTES = 4096;
const [INTERRUPT, END, BACKSPACE, LINE, KILL, RETURN, DELETE] = [3, 4, 8, 10, 21, 13, 127];

/**
 * As the options or COSIGN_PASSWORD give it. A descriptor is read before anything is awaited.
 *
 * @returns undefined when nothing gives one
 * @throws IngotError USAGE
 */
export function givenPassword(
  { cwd, env }: Pick<CommandContext, 'cwd' | 'env'>,
  { passwordFd, passwordFile }: PasswordFlags,
): Promise<string | undefined> {
  if (passwordFd !== undefined && passwordFile !== undefined) {
    throw new IngotError('USAGE', 'the password comes from both --password-fd and --password-file');
  }
  if (passwordFd !== undefined) return Promise.resolve(readPasswordDescriptor(passwordFd, '--password-fd'));
  if (passwordFile === undefined) return Promise.resolve(env['COSIGN_PASSWORD']);
  return readPasswordFile(resolve(cwd, passwordFile), passwordFile);
}

async function readPasswordFile(path: string, shown: string): Promise<string> {
  try {
    const status = await stat(path);
    if (!status.isDirectory() && status.size <= MAX_PASSWORD_BYTES) {
      return (await readFile(path, 'utf8')).replace(/\r?\n$/, '');
    }
  } catch (error) {
    throw new IngotError(
      'USAGE',
      `the password file ${shown} cannot be read (${errnoOf(error) ?? 'error'})`,
      { cause: error },
    );
  }
  throw new IngotError('USAGE', `${shown} holds no password: it is a folder, or too large`);
}

/** A person is there to be asked. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** @throws IngotError INTERRUPTED for Ctrl-C, USAGE for Ctrl-D and what is too long */
export async function askPassword(question: string, signal?: AbortSignal): Promise<string> {
  const { stdin, stderr } = process;
  const typed: number[] = [];
  // Before the question: who answers at once would see the answer, and Ctrl-C would reach the shell too.
  stdin.setRawMode(true);
  try {
    stderr.write(question);
    for (;;) {
      for (const byte of await nextBytes(signal)) {
        if (byte === RETURN || byte === LINE) return Buffer.from(typed).toString('utf8');
        if (byte === INTERRUPT) throw new IngotError('INTERRUPTED', 'interrupted');
        if (byte === END) throw new IngotError('USAGE', 'no password was given');
        if (byte === KILL) typed.length = 0;
        else if (byte === BACKSPACE || byte === DELETE) removeLast(typed);
        else if (typed.push(byte) > MAX_PASSWORD_BYTES)
          throw new IngotError('USAGE', 'no password is that long');
      }
    }
  } finally {
    typed.fill(0);
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

function nextBytes(signal: AbortSignal | undefined): Promise<Buffer> {
  const { stdin } = process;
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      stdin.off('data', onData).off('end', onEnd);
      signal?.removeEventListener('abort', onAbort);
      stdin.pause();
      act();
    };
    const onData = (bytes: Buffer): void => {
      settle(() => {
        resolve(bytes);
      });
    };
    const onEnd = (): void => {
      settle(() => {
        reject(new IngotError('USAGE', 'no password was given'));
      });
    };
    const onAbort = (): void => {
      settle(() => {
        reject(new IngotError('INTERRUPTED', 'interrupted'));
      });
    };
    stdin.on('data', onData).on('end', onEnd);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted === true) onAbort();
    else stdin.resume();
  });
}

/** A letter may be several bytes of UTF-8, of which all but the first begin with the bits 10. */
function removeLast(typed: number[]): void {
  while (((typed.pop() ?? 0) & 0b1100_0000) === 0b1000_0000);
}
