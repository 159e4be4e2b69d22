/**
 * Progress for programs: `--progress-fd`. One JSON object per line:
 * `{"schemaVersion": 1, "time": RFC 3339, ...event}`, with the events of events.ts.
 */
import type { ReportEvent } from './events.ts';
import type { Renderer } from './renderer.ts';

export const PROGRESS_SCHEMA_VERSION = 1;

/** A stage's progress is passed on at most this often; its last step always is. */
const PROGRESS_INTERVAL_MS = 100;

export interface JsonLinesOptions {
  readonly write: (line: string) => void;
  /** Called when everything was written. */
  readonly close: () => Promise<void>;
  readonly wallClock: () => Date;
  readonly now?: () => number;
}

export function createJsonLinesRenderer(options: JsonLinesOptions): Renderer {
  const now = options.now ?? (() => performance.now());
  const lastSent = new Map<string, number>();
  const sink = (event: ReportEvent): void => {
    if (event.type === 'stage-progress') {
      const last = lastSent.get(event.id);
      if (last !== undefined && event.done !== event.total && now() - last < PROGRESS_INTERVAL_MS) return;
      lastSent.set(event.id, now());
    }
    if (event.type === 'stage-end') lastSent.delete(event.id);
    options.write(
      `${JSON.stringify({
        schemaVersion: PROGRESS_SCHEMA_VERSION,
        time: options.wallClock().toISOString(),
        ...event,
      })}\n`,
    );
  };
  return { sink, [Symbol.asyncDispose]: options.close };
}
