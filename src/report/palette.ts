/** Colour, decided once per stream. */
import { styleText } from 'node:util';

export type Paint = (text: string) => string;

export interface Palette {
  readonly error: Paint;
  readonly warning: Paint;
  readonly success: Paint;
  readonly hint: Paint;
  readonly strong: Paint;
  readonly faint: Paint;
}

export interface ColorQuestion {
  readonly isTerminal: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `--no-color`. */
  readonly refused?: boolean;
}

/** `--no-color` beats NO_COLOR, NO_COLOR beats FORCE_COLOR, FORCE_COLOR beats what the stream is. */
export function wantsColor({ isTerminal, env, refused = false }: ColorQuestion): boolean {
  if (refused || (env['NO_COLOR'] ?? '') !== '') return false;
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  return isTerminal && env['TERM'] !== 'dumb';
}

export function createPalette(color: boolean): Palette {
  const paint =
    (format: Parameters<typeof styleText>[0]): Paint =>
    (text) =>
      color ? styleText(format, text, { validateStream: false }) : text;
  return {
    error: paint(['bold', 'red']),
    warning: paint('yellow'),
    success: paint('green'),
    hint: paint('cyan'),
    strong: paint('bold'),
    faint: paint('dim'),
  };
}
