/**
 * A person at the machine, who may sit at any of its consoles: everything is shown on all of them, and the first line
 * that is typed on one counts.
 */
import { constants, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { ReadStream, WriteStream } from 'node:tty';

import { IngotError } from '../../errors.ts';
import { formatTable, formatBytes } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import type { Medium } from './medium.ts';
import type { Disk } from './target.ts';

const ACTIVE = '/sys/class/tty/console/active';

export class Consoles implements AsyncDisposable {
  readonly #screens: readonly WriteStream[];
  readonly #keyboards: readonly ReadStream[];
  #answer: ((line: string) => void) | undefined;

  /** Opens all consoles of the machine that work. */
  static async open(): Promise<Consoles> {
    const names = (await readFile(ACTIVE, 'utf8')).trim().split(/\s+/);
    const terminals = names.flatMap((name) => {
      try {
        // Not waiting for a modem to answer on a serial line that has none.
        const open = (): number =>
          openSync(`/dev/${name}`, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
        return [{ screen: new WriteStream(open()), keyboard: new ReadStream(open()) }];
      } catch {
        // A console that the kernel was told of and the machine does not have.
        return [];
      }
    });
    return new Consoles(terminals);
  }

  private constructor(terminals: readonly { readonly screen: WriteStream; readonly keyboard: ReadStream }[]) {
    this.#screens = terminals.map(({ screen }) => screen);
    this.#keyboards = terminals.map(({ keyboard }) => keyboard);
    for (const stream of [...this.#screens, ...this.#keyboards]) {
      // A serial port that nothing is connected to is none; others are asked.
      stream.on('error', () => undefined);
    }
    for (const keyboard of this.#keyboards) {
      createInterface({ input: keyboard, terminal: false }).on('line', (line) => this.#answer?.(line.trim()));
    }
  }

  say(text: string): Promise<void> {
    for (const screen of this.#screens) screen.write(text);
    return Promise.resolve();
  }

  /** @throws IngotError INSTALL_REFUSED when there is no console, INTERRUPTED */
  async ask(question: string, signal?: AbortSignal): Promise<string> {
    if (this.#keyboards.length === 0) {
      throw new IngotError(
        'INSTALL_REFUSED',
        'nothing says which disk to install to, and there is no console',
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const onAbort = (): void => {
      reject(new IngotError('INTERRUPTED', 'interrupted'));
    };
    this.#answer = resolve;
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await this.say(question);
      return await promise;
    } finally {
      this.#answer = undefined;
      signal?.removeEventListener('abort', onAbort);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const stream of [...this.#screens, ...this.#keyboards]) stream.destroy();
    return Promise.resolve();
  }
}

export interface Questioner {
  say(text: string): Promise<void>;
  ask(question: string, signal?: AbortSignal): Promise<string>;
}

/** Asks until a disk is named, and its number is typed again in words: there is no way back. */
export async function askWhichDisk(
  person: Questioner,
  disks: readonly Disk[],
  { image }: Pick<Medium, 'image'>,
  signal?: AbortSignal,
): Promise<Disk> {
  const rows = disks.map(({ name, size, model, serial }, index) => [
    String(index + 1),
    `/dev/${name}`,
    formatBytes(size),
    printableName(model ?? ''),
    printableName(serial ?? ''),
  ]);
  const titles = ['', 'DISK', 'SIZE', 'MODEL', 'SERIAL'].map((title) => ({ title }));
  await person.say(`\n${image.name} ${image.version} is installed to one of these disks:\n\n`);
  await person.say(`${formatTable(titles, rows)}\n\n`);
  for (;;) {
    const answer = await person.ask('Number of the disk: ', signal);
    const disk = /^\d{1,4}$/.test(answer) ? disks[Number(answer) - 1] : undefined;
    if (disk === undefined) {
      await person.say(`There is no disk ${printableName(answer)}.\n`);
      continue;
    }
    const word = await person.ask(`Everything on /dev/${disk.name} is lost. Type yes to go on: `, signal);
    if (word.toLowerCase() === 'yes') return disk;
    await person.say('Nothing was changed.\n');
  }
}
