/** Reading what programs say: by line, with a memory for the last lines, and no longer than they live. */
import type { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

const TAIL_LINES = 25;
const LINGER_TICK_MS = 30;
const LINGER_TICKS = 4;

/** Calls `onLine` for each line of a text stream; a last line without a newline counts. */
export function splitLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  // Not setEncoding: others read the same stream as bytes.
  const decoder = new StringDecoder('utf8');
  stream.on('data', (chunk: Buffer) => {
    const parts = (rest + decoder.write(chunk)).split(/\r?\n/);
    rest = parts.pop() ?? '';
    for (const part of parts) onLine(part);
  });
  const flush = (): void => {
    rest += decoder.end();
    if (rest !== '') onLine(rest);
    rest = '';
  };
  stream.once('end', flush);
  // A stream that is cut short has said its last line too.
  stream.once('close', flush);
}

/** The last lines of a program's output, for the person who reads the failure. */
export class OutputTail {
  readonly #lines: string[] = [];

  add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > TAIL_LINES) this.#lines.shift();
  }

  get text(): string {
    return this.#lines.join('\n');
  }
}

/**
 * Closes our end of a program's output soon after the program itself has ended. A daemon it left behind may hold
 * the other end open for ever, and nothing that it says is part of the answer. What the program wrote is read to
 * the last byte: a stream counts as silent only after several turns of the event loop in which it had nothing to
 * read, and never while its reader holds it back.
 */
export function closeOutputAfterExit(child: ChildProcess, streams: readonly Readable[]): void {
  child.once('exit', () => {
    for (const stream of streams) closeWhenSilent(stream);
  });
}

function closeWhenSilent(stream: Readable): void {
  let silentTicks = 0;
  stream.on('data', () => {
    silentTicks = 0;
  });
  const tick = (): void => {
    if (stream.closed) return;
    const heldBack = stream.readableLength > 0 || stream.readableFlowing === false;
    silentTicks = heldBack ? 0 : silentTicks + 1;
    if (silentTicks >= LINGER_TICKS) stream.destroy();
    else setTimeout(tick, LINGER_TICK_MS);
  };
  setTimeout(tick, LINGER_TICK_MS);
}
