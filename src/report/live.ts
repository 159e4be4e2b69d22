/**
 * Progress on a terminal. Running stages are a few lines at the bottom, redrawn in place; a stage that has ended
 * becomes a line that stays. Lines are cut to the width, and automatic wrapping is off while drawing, so that the
 * number of rows to go back over is known; after a resize it is computed from what was drawn.
 */
import type { ReportEvent } from './events.ts';
import { formatBytes, formatSeconds } from './format.ts';
import type { Palette } from './palette.ts';
import { progressText } from './plain.ts';
import type { Renderer } from './renderer.ts';

const FRAME_MS = 80;
const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const;
const BAR_WIDTH = 20;
const WRAP_OFF = '\u001B[?7l';
const WRAP_ON = '\u001B[?7h';
const CLEAR_BELOW = '\u001B[J';

/** The part of a terminal that is needed; `process.stderr` is one. */
export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  write(text: string): unknown;
}

export interface LiveOptions {
  readonly terminal: Terminal;
  readonly palette: Palette;
  readonly verbose: boolean;
  readonly now?: () => number;
}

interface RunningStage {
  readonly title: string;
  readonly started: number;
  readonly indent: string;
  progress?: Extract<ReportEvent, { type: 'stage-progress' }>;
}

export function createLiveRenderer(options: LiveOptions): Renderer {
  const { terminal, palette } = options;
  const now = options.now ?? (() => performance.now());
  const running = new Map<string, RunningStage>();
  /** Visible widths of the lines that stand below the permanent ones. */
  let drawn: readonly number[] = [];
  let pending = '';
  let frame = 0;

  const stageLine = (stage: RunningStage): Line => {
    const spinner = SPINNER[frame % SPINNER.length] ?? '';
    const seconds = (now() - stage.started) / 1000;
    const parts = [stage.title, ...(stage.progress ? progressParts(stage.progress, seconds) : [])];
    if (seconds >= 1) parts.push(formatSeconds(seconds));
    return cut(
      [{ text: `${stage.indent}${spinner} `, paint: palette.hint }, { text: parts.join('  ') }],
      terminal.columns - 1,
    );
  };

  const draw = (): void => {
    // One line may take several rows when the terminal became narrower since.
    const rows = drawn.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / terminal.columns)), 0);
    const back = rows === 0 ? '' : `\r${rows > 1 ? `\u001B[${rows - 1}A` : ''}${CLEAR_BELOW}`;
    const lines = [...running.values()].slice(-Math.max(terminal.rows - 2, 1)).map(stageLine);
    const text = `${back}${pending}${WRAP_OFF}${lines.map((line) => line.text).join('\n')}${WRAP_ON}`;
    pending = '';
    drawn = lines.map((line) => line.width);
    terminal.write(text);
  };

  const timer = setInterval(() => {
    frame += 1;
    if (running.size > 0 || pending !== '') draw();
  }, FRAME_MS);
  timer.unref();

  const keep = (line: string): void => {
    pending += `${line}\n`;
  };

  const sink = (event: ReportEvent): void => {
    switch (event.type) {
      case 'stage-start': {
        const parent = event.parent === undefined ? undefined : running.get(event.parent);
        const indent = parent === undefined ? '' : `${parent.indent}  `;
        running.set(event.id, { title: event.title, started: now(), indent });
        break;
      }
      case 'stage-progress': {
        const stage = running.get(event.id);
        if (stage !== undefined) stage.progress = event;
        break;
      }
      case 'stage-end': {
        const indent = running.get(event.id)?.indent ?? '';
        running.delete(event.id);
        const mark = event.outcome === 'failed' ? palette.error('✖') : palette.success('✔');
        const outcome = event.outcome === 'done' ? formatSeconds(event.seconds) : event.outcome;
        const detail = event.detail === undefined ? '' : `  ${palette.faint(event.detail)}`;
        keep(`${indent}${mark} ${event.title}  ${palette.faint(outcome)}${detail}`);
        break;
      }
      case 'log':
        if (event.level === 'debug' && !options.verbose) break;
        keep(
          event.level === 'warning'
            ? `${palette.warning('warning:')} ${event.message}`
            : event.level === 'debug'
              ? palette.faint(event.message)
              : event.message,
        );
        break;
    }
  };

  return {
    sink,
    [Symbol.asyncDispose]: () => {
      clearInterval(timer);
      running.clear();
      if (pending !== '' || drawn.length > 0) draw();
      return Promise.resolve();
    },
  };
}

function progressParts(
  progress: Extract<ReportEvent, { type: 'stage-progress' }>,
  seconds: number,
): readonly string[] {
  const { done, total, unit } = progress;
  const parts: string[] = [];
  if (total !== undefined && total > 0) {
    const filled = Math.round(Math.min(done / total, 1) * BAR_WIDTH);
    parts.push(`${'━'.repeat(filled)}${'╌'.repeat(BAR_WIDTH - filled)}`);
  }
  parts.push(progressText(progress));
  if (unit === 'bytes' && seconds >= 1) parts.push(`${formatBytes(done / seconds)}/s`);
  return parts;
}

interface Line {
  readonly text: string;
  readonly width: number;
}

/** Paints and joins pieces, cut to `columns` characters. */
function cut(
  pieces: readonly { readonly text: string; readonly paint?: (text: string) => string }[],
  columns: number,
): Line {
  let text = '';
  let width = 0;
  for (const piece of pieces) {
    const characters = Array.from(piece.text).slice(0, Math.max(columns - width, 0));
    const part = characters.join('');
    text += piece.paint === undefined ? part : piece.paint(part);
    width += characters.length;
  }
  return { text, width };
}
