/** Chooses who shows progress, and where. Everything here goes to stderr or to `--progress-fd`. */
import { constants, createWriteStream, readdirSync, readFileSync, readlinkSync } from 'node:fs';

import { IngotError } from '../errors.ts';
import type { ReportSink } from '../report/events.ts';
import { createJsonLinesRenderer } from '../report/json-lines.ts';
import { createLiveRenderer } from '../report/live.ts';
import { createPalette, wantsColor } from '../report/palette.ts';
import { createPlainRenderer } from '../report/plain.ts';
import type { Renderer } from '../report/renderer.ts';

export interface ReportingOptions {
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly color: boolean;
  readonly progressFd?: string;
}

export interface ReportingStreams {
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface Reporting extends AsyncDisposable {
  readonly sinks: readonly ReportSink[];
}

/** @throws IngotError USAGE when `--progress-fd` is not an open file descriptor. */
export function openReporting(options: ReportingOptions, streams: ReportingStreams): Reporting {
  const renderers: Renderer[] = [];
  if (options.progressFd !== undefined) renderers.push(openProgressFd(options.progressFd));
  renderers.push(openStderr(options, streams));
  return {
    sinks: renderers.map((renderer) => renderer.sink),
    [Symbol.asyncDispose]: async () => {
      for (const renderer of renderers) await renderer[Symbol.asyncDispose]();
    },
  };
}

function openStderr(options: ReportingOptions, { stderr, env }: ReportingStreams): Renderer {
  const verbose = options.verbose === true;
  if (stderr.isTTY && env['TERM'] !== 'dumb') {
    const color = wantsColor({ isTerminal: true, env, refused: !options.color });
    return createLiveRenderer({ terminal: stderr, palette: createPalette(color), verbose });
  }
  // A program that asked for JSON reads the result; it has --progress-fd for the way there.
  const quiet = options.json === true && !verbose;
  return createPlainRenderer({ write: (text) => stderr.write(text), verbose, quiet });
}

const ACCESS_MODE = 3;

/**
 * Whether a descriptor came from whoever started us, and can be written. Node.js's own look the same to fstat(2), and
 * a line of JSON in one of its pipes is a signal that never was.
 */
function isForUs(fd: number): boolean {
  const target = readlinkSync(`/proc/self/fd/${fd}`);
  if (target.startsWith('anon_inode:') || !isWritable(fd)) return false;
  // Of its pipes Node.js holds both ends.
  return (
    !target.startsWith('pipe:') || !descriptors().some((own) => own.target === target && !isWritable(own.fd))
  );
}

function isWritable(fd: number): boolean {
  const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0';
  return (Number.parseInt(flags, 8) & ACCESS_MODE) !== constants.O_RDONLY;
}

function descriptors(): { readonly fd: number; readonly target: string }[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return [{ fd: Number(name), target: readlinkSync(`/proc/self/fd/${name}`) }];
    } catch {
      return []; // the one that read the folder
    }
  });
}

function openProgressFd(text: string): Renderer {
  const fd = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  try {
    // 0 and 1 are taken: stdout carries the result.
    if (!(fd >= 2)) throw new RangeError('not a usable descriptor');
    if (!isForUs(fd)) throw new RangeError('not handed to us to write to');
  } catch (error) {
    throw new IngotError('USAGE', `--progress-fd ${text} is not an open file descriptor`, {
      hint: 'open one in the shell, for example: ingot build x.yaml --progress-fd 3 3>progress.jsonl',
      cause: error,
    });
  }
  const stream = createWriteStream('', { fd, autoClose: false });
  let failed = false;
  // A reader that went away does not stop the work.
  stream.on('error', () => {
    failed = true;
  });
  return createJsonLinesRenderer({
    write: (line) => {
      if (!failed) stream.write(line);
    },
    close: () =>
      new Promise((resolve) => {
        if (failed) resolve();
        else {
          stream.once('error', () => {
            resolve();
          });
          stream.end(resolve);
        }
      }),
    wallClock: () => new Date(),
  });
}
