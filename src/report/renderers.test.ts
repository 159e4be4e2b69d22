import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { createReporter } from './events.ts';
import { createJsonLinesRenderer } from './json-lines.ts';
import { createLiveRenderer } from './live.ts';
import { createPalette, wantsColor } from './palette.ts';
import { createPlainRenderer } from './plain.ts';

let now: number;
const clock = (): number => now;
beforeEach(() => {
  now = 0;
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A screen that understands what the live renderer writes; throws on anything else. */
class Screen {
  columns = 80;
  rows = 10;
  readonly lines: string[] = [''];
  row = 0;
  wraps = true;
  /** The most rows that were ever on the screen at once. */
  highest = 0;

  write(text: string): void {
    // eslint-disable-next-line no-control-regex -- the terminal's own language
    const pattern = /\u001B\[(\??\d*)([A-Za-z])|[\s\S]/gu;
    let column = 0;
    for (const [piece, parameter, command] of text.matchAll(pattern)) {
      if (command === undefined) {
        if (piece === '\n') {
          this.row += 1;
          column = 0;
          this.lines[this.row] ??= '';
        } else if (piece === '\r') {
          column = 0;
        } else {
          if (column >= this.columns) {
            if (!this.wraps) continue;
            throw new Error('a line wrapped');
          }
          const line = this.lines[this.row] ?? '';
          this.lines[this.row] = line.slice(0, column).padEnd(column) + piece + line.slice(column + 1);
          column += 1;
        }
      } else if (command === 'A') this.row -= Number(parameter);
      else if (command === 'J') {
        this.lines.length = this.row + 1;
        this.lines[this.row] = (this.lines[this.row] ?? '').slice(0, column);
      } else if (parameter === '?7') this.wraps = command === 'h';
      else throw new Error(`unexpected sequence ${JSON.stringify(piece)}`);
      if (this.row < 0) throw new Error('went above the screen');
      this.highest = Math.max(this.highest, this.lines.length);
    }
  }

  get text(): string {
    return this.lines.map((line) => line.trimEnd()).join('\n');
  }
}

describe('live', () => {
  function setUp(): { screen: Screen; tick: (ms: number) => void } & ReturnType<typeof createLiveRenderer> {
    const screen = new Screen();
    const renderer = createLiveRenderer({
      terminal: screen,
      palette: createPalette(false),
      verbose: false,
      now: clock,
    });
    const tick = (ms: number): void => {
      now += ms;
      vi.advanceTimersByTime(ms);
    };
    return { ...renderer, screen, tick };
  }

  test('a running stage is redrawn in place, and becomes a line that stays', async () => {
    const live = setUp();
    live.sink({ type: 'stage-start', id: 'a', title: 'Download' });
    live.sink({ type: 'stage-progress', id: 'a', done: 5 * 2 ** 20, total: 20 * 2 ** 20, unit: 'bytes' });
    live.tick(2_000);
    expect(live.screen.text).toMatch(
      /^\S Download {2}━{5}╌{15} {2}5.0 MiB of 20 MiB {2}2.5 MiB\/s {2}2.0 s$/,
    );
    live.sink({ type: 'log', level: 'warning', message: 'slow mirror' });
    live.sink({
      type: 'stage-end',
      id: 'a',
      title: 'Download',
      outcome: 'done',
      seconds: 2.5,
      detail: '3 packages',
    });
    live.sink({ type: 'stage-start', id: 'b', title: 'Seal' });
    live.tick(100);
    expect(live.screen.text.split('\n')).toEqual([
      'warning: slow mirror',
      '✔ Download  2.5 s  3 packages',
      expect.stringMatching(/^\S Seal$/),
    ]);
    live.sink({ type: 'stage-end', id: 'b', title: 'Seal', outcome: 'failed', seconds: 1 });
    await live[Symbol.asyncDispose]();
    expect(live.screen.text.split('\n')).toEqual([
      'warning: slow mirror',
      '✔ Download  2.5 s  3 packages',
      '✖ Seal  failed',
      '',
    ]);
  });

  test('nothing of a stage that never ended is left at the end', async () => {
    const live = setUp();
    live.sink({ type: 'stage-start', id: 'a', title: 'Download' });
    live.tick(100);
    await live[Symbol.asyncDispose]();
    expect(live.screen.text).toBe('');
  });

  test('lines never wrap, and stages never fill more than the screen', () => {
    const live = setUp();
    live.screen.columns = 20;
    live.screen.rows = 5;
    for (let index = 0; index < 30; index += 1) {
      live.sink({ type: 'stage-start', id: `s${index}`, title: `A rather long title, number ${index}` });
    }
    live.tick(1_000);
    expect(live.screen.highest).toBeLessThanOrEqual(4);
    expect(Math.max(...live.screen.lines.map((line) => line.length))).toBeLessThanOrEqual(20);
  });

  test('a terminal that became narrower is cleared as far up as its lines now reach', () => {
    const live = setUp();
    const written: string[] = [];
    live.screen.write = (text) => written.push(text);
    live.sink({ type: 'stage-start', id: 'a', title: 'x'.repeat(48) });
    live.tick(80);
    live.screen.columns = 20; // 50 characters now take three rows
    live.tick(80);
    expect(written.at(-1)?.startsWith('\r\u001B[2A\u001B[J')).toBe(true);
  });
});

describe('plain', () => {
  test('a stage is a line when it begins and when it ends, with a heartbeat between', () => {
    let text = '';
    const { sink } = createPlainRenderer({
      write: (piece) => (text += piece),
      verbose: false,
      now: clock,
    });
    sink({ type: 'stage-start', id: 'a', title: 'Download' });
    for (now = 0; now <= 25_000; now += 500) {
      sink({ type: 'stage-progress', id: 'a', done: now, total: 30_000, unit: 'items' });
    }
    sink({ type: 'log', level: 'debug', message: 'not shown' });
    sink({ type: 'stage-end', id: 'a', title: 'Download', outcome: 'cached', seconds: 0.2, detail: 'all' });
    expect(text).toBe(
      'Download …\nDownload: 10000 of 30000\nDownload: 20000 of 30000\nDownload: cached, 0.2 s, all\n',
    );
  });

  test('quiet says warnings and failures alone', () => {
    let text = '';
    const { sink } = createPlainRenderer({ write: (piece) => (text += piece), verbose: false, quiet: true });
    sink({ type: 'stage-start', id: 'a', title: 'A' });
    sink({ type: 'log', level: 'info', message: 'info' });
    sink({ type: 'log', level: 'warning', message: 'careful' });
    sink({ type: 'stage-end', id: 'a', title: 'A', outcome: 'failed', seconds: 12 });
    expect(text).toBe('warning: careful\nA: failed after 12 s\n');
  });
});

describe('JSON lines', () => {
  test('every line is a versioned event with its time; progress is thinned, its end is not', async () => {
    const lines: unknown[] = [];
    const renderer = createJsonLinesRenderer({
      write: (line) => lines.push(JSON.parse(line)),
      close: () => Promise.resolve(),
      wallClock: () => new Date(0),
      now: clock,
    });
    const reporter = createReporter([renderer.sink], clock);
    await reporter.stage('Fetch packages', (stage) => {
      for (let done = 0; done <= 1000; done += 1) stage.progress(done, 1000, 'bytes');
      return Promise.resolve();
    });
    const common = { schemaVersion: 1, time: '1970-01-01T00:00:00.000Z', id: 'fetch-packages' };
    expect(lines).toEqual([
      { ...common, type: 'stage-start', title: 'Fetch packages' },
      { ...common, type: 'stage-progress', done: 0, total: 1000, unit: 'bytes' },
      { ...common, type: 'stage-progress', done: 1000, total: 1000, unit: 'bytes' },
      { ...common, type: 'stage-end', title: 'Fetch packages', outcome: 'done', seconds: 0 },
    ]);
  });
});

describe('colour', () => {
  test.each([
    [{ isTerminal: true, env: {} }, true],
    [{ isTerminal: false, env: {} }, false],
    [{ isTerminal: true, env: { NO_COLOR: '1' } }, false],
    [{ isTerminal: true, env: { NO_COLOR: '' } }, true],
    [{ isTerminal: false, env: { FORCE_COLOR: '1' } }, true],
    [{ isTerminal: true, env: { FORCE_COLOR: '0' } }, false],
    [{ isTerminal: true, env: { TERM: 'dumb' } }, false],
    [{ isTerminal: true, env: { FORCE_COLOR: '1', NO_COLOR: '1' } }, false],
    [{ isTerminal: true, env: { FORCE_COLOR: '1' }, refused: true }, false],
  ])('%j', (question, expected) => {
    expect(wantsColor(question)).toBe(expected);
  });

  test('paints only when wanted', () => {
    expect(createPalette(false).error('x')).toBe('x');
    const painted = createPalette(true).error('x');
    expect(painted).not.toBe('x');
    expect(stripVTControlCharacters(painted)).toBe('x');
  });
});
