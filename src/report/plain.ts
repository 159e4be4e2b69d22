/** Progress as plain lines, for logs and pipes: one when a stage begins, one when it ends, few in between. */
import type { ReportEvent } from './events.ts';
import { formatBytes, formatSeconds } from './format.ts';
import type { Renderer } from './renderer.ts';

/** A long stage says how far it is at most this often. */
const HEARTBEAT_MS = 10_000;

export interface PlainOptions {
  readonly write: (text: string) => void;
  readonly verbose: boolean;
  /** Warnings and failures only. */
  readonly quiet?: boolean;
  readonly now?: () => number;
}

export function createPlainRenderer(options: PlainOptions): Renderer {
  const now = options.now ?? (() => performance.now());
  const titles = new Map<string, string>();
  const lastSaid = new Map<string, number>();
  const say = (line: string): void => {
    options.write(`${line}\n`);
  };
  const sink = (event: ReportEvent): void => {
    switch (event.type) {
      case 'stage-start':
        titles.set(event.id, event.title);
        lastSaid.set(event.id, now());
        if (options.quiet !== true) say(`${event.title} …`);
        break;
      case 'stage-progress': {
        if (options.quiet === true || now() - (lastSaid.get(event.id) ?? 0) < HEARTBEAT_MS) break;
        lastSaid.set(event.id, now());
        say(`${titles.get(event.id) ?? event.id}: ${progressText(event)}`);
        break;
      }
      case 'stage-end': {
        titles.delete(event.id);
        lastSaid.delete(event.id);
        if (options.quiet === true && event.outcome !== 'failed') break;
        const outcome = { done: 'done in', cached: 'cached,', failed: 'failed after' }[event.outcome];
        const detail = event.detail === undefined ? '' : `, ${event.detail}`;
        say(`${event.title}: ${outcome} ${formatSeconds(event.seconds)}${detail}`);
        break;
      }
      case 'log':
        if (event.level === 'debug' && !options.verbose) break;
        if (event.level === 'info' && options.quiet === true) break;
        say(event.level === 'warning' ? `warning: ${event.message}` : event.message);
        break;
    }
  };
  return { sink, [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** `40 MiB of 61 MiB`, `12 of 87`, `12`. */
export function progressText(progress: {
  readonly done: number;
  readonly total?: number;
  readonly unit: 'bytes' | 'items';
  readonly detail?: string;
}): string {
  const amount = (value: number): string => (progress.unit === 'bytes' ? formatBytes(value) : String(value));
  const detail = progress.detail === undefined ? '' : ` ${progress.detail}`;
  return progress.total === undefined
    ? `${amount(progress.done)}${detail}`
    : `${amount(progress.done)} of ${amount(progress.total)}${detail}`;
}
