/** What a machine prints on its serial console: kept in lines, with the second each was begun. */
import { createWriteStream, type WriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';

import { splitLines } from '../../proc/run.ts';

export interface ConsoleLine {
  /** Since the machine was started. */
  readonly seconds: number;
  readonly text: string;
}

/** Lines kept in memory; the file has all of them. */
const KEPT_LINES = 5_000;

// prettier-ignore
// eslint-disable-next-line no-control-regex -- control sequences are what this is about
const CONTROL = /\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-9;?=]*[ -/]*[@-~]|\x1b[()#%][0-9A-Za-z]|\x1b[@-Z\\^_=>78]|[\x00-\x08\x0b-\x1f\x7f]/g;

/** A line as it would be read: without colours, cursor movements, window titles and other controls. */
export function cleanConsoleText(text: string): string {
  return text.replaceAll(CONTROL, '').trimEnd();
}

export class ConsoleLog {
  readonly #lines: ConsoleLine[] = [];
  readonly #now: () => number;
  readonly #file: WriteStream | undefined;
  readonly #waiting = new Set<{ readonly pattern: RegExp; readonly found: (line: ConsoleLine) => void }>();

  /** `now` is seconds since the machine was started. */
  constructor(now: () => number, file?: string) {
    this.#now = now;
    if (file !== undefined) {
      this.#file = createWriteStream(file, { mode: 0o600 });
      // A full disk must not end the machine for its log.
      this.#file.on('error', () => undefined);
    }
  }

  follow(stream: Readable): void {
    splitLines(stream, (line) => {
      this.add(line);
    });
  }

  add(raw: string): void {
    const text = cleanConsoleText(raw);
    if (text === '') return;
    const line = { seconds: this.#now(), text };
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#file?.write(`${renderConsoleLine(line)}\n`);
    for (const waiting of this.#waiting) {
      if (!waiting.pattern.test(text)) continue;
      this.#waiting.delete(waiting);
      waiting.found(line);
    }
  }

  /** The first line that matches, now or later. */
  async waitFor(pattern: RegExp): Promise<ConsoleLine> {
    return await new Promise((found) => {
      const line = this.find(pattern);
      if (line === undefined) this.#waiting.add({ pattern, found });
      else found(line);
    });
  }

  find(pattern: RegExp): ConsoleLine | undefined {
    return this.#lines.find((line) => pattern.test(line.text));
  }

  /** The last lines, each with its second. */
  tail(count: number): string {
    return this.#lines.slice(-count).map(renderConsoleLine).join('\n');
  }

  async close(): Promise<void> {
    if (this.#file === undefined) return;
    this.#file.end();
    await finished(this.#file).catch(() => undefined);
  }
}

function renderConsoleLine({ seconds, text }: ConsoleLine): string {
  return `[${seconds.toFixed(1).padStart(6)}] ${text}`;
}
