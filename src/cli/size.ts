/** Sizes as people type them. */
import { InvalidArgumentError } from 'commander';

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/**
 * Bytes of `8GiB`, `8 GiB`, `8G` (binary), `8GB` (decimal), `1.5GiB` or a plain number. For commander's options.
 *
 * @throws InvalidArgumentError, which becomes USAGE
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const factor = FACTORS[(match?.[2] ?? '?').toLowerCase()];
  if (match?.[1] === undefined || factor === undefined) {
    throw new InvalidArgumentError('Sizes look like 8GiB or 500MiB.');
  }
  return Math.round(Number(match[1]) * factor);
}
