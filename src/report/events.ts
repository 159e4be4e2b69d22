/**
 * What the core says while it works. The core emits these and never prints; renderers (same folder) show them
 * on stderr or as JSON lines on `--progress-fd`. stdout belongs to the result.
 */

export type StageOutcome = 'done' | 'cached' | 'failed';

export type ReportEvent =
  /** A stage has begun. `parent` nests it; `total` is known up front or follows with progress. */
  | { readonly type: 'stage-start'; readonly id: string; readonly title: string; readonly parent?: string }
  | {
      readonly type: 'stage-progress';
      readonly id: string;
      readonly done: number;
      readonly total?: number;
      readonly unit: 'bytes' | 'items';
      readonly detail?: string;
    }
  | {
      readonly type: 'stage-end';
      readonly id: string;
      readonly title: string;
      readonly outcome: StageOutcome;
      readonly seconds: number;
      readonly detail?: string;
    }
  | { readonly type: 'log'; readonly level: 'debug' | 'info' | 'warning'; readonly message: string };

/** Progress of one running stage. */
export interface Stage {
  readonly id: string;
  progress(done: number, total?: number, unit?: 'bytes' | 'items', detail?: string): void;
  /** Marks the stage as served from the store; `detail` says what. */
  cached(detail?: string): void;
  /** One short remark shown when the stage ends, such as "87 packages, 61 MiB". */
  detail(text: string): void;
}

/** Receives every event. Renderers implement it; `createReporter` wraps them. */
export type ReportSink = (event: ReportEvent) => void;

export interface Reporter {
  emit: ReportSink;
  debug(message: string): void;
  info(message: string): void;
  warning(message: string): void;
  /**
   * Runs `work` as a named, timed stage. Ends it as `failed` when `work` throws and rethrows.
   * Ids are unique per reporter: a stage entered twice gets a suffix.
   */
  stage<T>(title: string, work: (stage: Stage) => Promise<T>): Promise<T>;
}

/** A reporter over any number of sinks. `now` is milliseconds from any fixed point. */
export function createReporter(
  sinks: readonly ReportSink[],
  now: () => number = () => performance.now(),
): Reporter {
  const used = new Map<string, number>();
  const emit: ReportSink = (event) => {
    for (const sink of sinks) sink(event);
  };
  const uniqueId = (title: string): string => {
    const base = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    const count = (used.get(base) ?? 0) + 1;
    used.set(base, count);
    return count === 1 ? base : `${base}-${count}`;
  };
  return {
    emit,
    debug: (message) => {
      emit({ type: 'log', level: 'debug', message });
    },
    info: (message) => {
      emit({ type: 'log', level: 'info', message });
    },
    warning: (message) => {
      emit({ type: 'log', level: 'warning', message });
    },
    async stage(title, work) {
      const id = uniqueId(title);
      const started = now();
      let outcome: StageOutcome = 'done';
      let remark: string | undefined;
      emit({ type: 'stage-start', id, title });
      const finish = (): void => {
        const seconds = (now() - started) / 1000;
        emit({
          type: 'stage-end',
          id,
          title,
          outcome,
          seconds,
          ...(remark !== undefined && { detail: remark }),
        });
      };
      try {
        return await work({
          id,
          progress: (done, total, unit = 'items', detail) => {
            emit({
              type: 'stage-progress',
              id,
              done,
              unit,
              ...(total !== undefined && { total }),
              ...(detail !== undefined && { detail }),
            });
          },
          cached: (text) => {
            outcome = 'cached';
            if (text !== undefined) remark = text;
          },
          detail: (text) => {
            remark = text;
          },
        });
      } catch (error) {
        outcome = 'failed';
        throw error;
      } finally {
        finish();
      }
    },
  };
}

/** Swallows everything: for tests and for library use without a terminal. */
export const silentReporter: Reporter = createReporter([]);
