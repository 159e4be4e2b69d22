/**
 * A person at the machine, who may sit at any of its consoles: everything is shown on all of them, and the first line
 * that is typed on one counts.
 */
import { constants } from 'node:fs';
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { createInterface, type Interface } from 'node:readline';
import { ReadStream } from 'node:tty';

import { IngotError } from '../../errors.ts';
import { formatTable, formatBytes } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import type { Medium } from './medium.ts';
import type { Disk } from './target.ts';

const ACTIVE = '/sys/class/tty/console/active';

export class Consoles implements AsyncDisposable {
  readonly #handles: readonly FileHandle[];
  readonly #readers: readonly Interface[];
  #answer: ((line: string) => void) | undefined;

  /** Opens all consoles of the machine that work. */
  static async open(): Promise<Consoles> {
    const names = (await readFile(ACTIVE, 'utf8')).trim().split(/\s+/);
    const handles: FileHandle[] = [];
    for (const name of names) {
      // Not waiting for a modem to answer on a serial line that has none.
      const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
      const handle = await open(`/dev/${name}`, flags).catch(() => undefined);
      if (handle !== undefined) handles.push(handle);
    }
    return new Consoles(handles);
  }

  private constructor(handles: readonly FileHandle[]) {
    this.#handles = handles;
    this.#readers = handles.map(({ fd }) => {
      const reader = createInterface({ input: new ReadStream(fd), terminal: false });
      reader.on('line', (line) => this.#answer?.(line.trim()));
      return reader;
    });
  }

  async say(text: string): Promise<void> {
    for (const handle of this.#handles) {
      // A console without a line, such as a serial port that nothing is connected to, is none.
      await handle.write(text.replaceAll('\n', '\r\n')).catch(() => undefined);
    }
  }

  /** @throws IngotError INSTALL_REFUSED when there is no console, INTERRUPTED */
  async ask(question: string, signal?: AbortSignal): Promise<string> {
    if (this.#handles.length === 0) {
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
    // The streams own the descriptors.
    for (const reader of this.#readers) {
      const { input } = reader as Interface & { readonly input: ReadStream };
      reader.close();
      input.destroy();
    }
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
