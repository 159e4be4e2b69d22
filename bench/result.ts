/** What a benchmark finds, as JSON and as a table. Seconds and bytes. */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';

import { formatBytes, formatSeconds, formatTable } from '../src/report/format.ts';
import type { Measurement } from './measure.ts';

export const BENCH_SCHEMA_VERSION = 1;

export interface Sample extends Measurement {
  /** Of what was made. */
  readonly bytes: number;
}

/** Medians over the samples, each figure on its own. */
export interface Figures extends Sample {
  readonly samples: readonly Sample[];
}

export interface Peer extends Figures {
  readonly name: string;
  readonly version: string;
}

export interface Row {
  readonly case: string;
  readonly ours: Figures;
  /** Null where the peer has nothing alike. */
  readonly peer: Peer | null;
  /** Our wall time by the peer's: below one is faster. */
  readonly ratio: number | null;
  readonly cpuRatio: number | null;
}

export interface Machine {
  readonly architecture: string;
  readonly processor: string;
  /** Usable ones. */
  readonly cores: number;
  readonly memory: number;
  readonly system: string;
  readonly node: string;
  /** Runnable processes, averaged over the minute before: well above zero, the machine had other work. */
  readonly loadBefore: number;
}

export interface BenchResult {
  readonly schemaVersion: typeof BENCH_SCHEMA_VERSION;
  readonly name: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly rows: readonly Row[];
}

export function describeMachine(): Machine {
  const system = /^PRETTY_NAME="?(.*?)"?$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  return {
    architecture: process.arch,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory: totalmem(),
    system: system ?? 'unknown',
    node: process.versions.node,
    loadBefore: loadavg()[0] ?? 0,
  };
}

/** @throws RangeError without values */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  if (low === undefined || high === undefined) throw new RangeError('no values have no median');
  return (low + high) / 2;
}

export function figuresOf(samples: readonly Sample[]): Figures {
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick));
  return {
    wall: of(({ wall }) => wall),
    cpu: of(({ cpu }) => cpu),
    rss: of(({ rss }) => rss),
    bytes: of(({ bytes }) => bytes),
    samples,
  };
}

export function rowOf(name: string, ours: Figures, peer: Peer | null): Row {
  return {
    case: name,
    ours,
    peer,
    ratio: peer === null ? null : ours.wall / peer.wall,
    cpuRatio: peer === null ? null : ours.cpu / peer.cpu,
  };
}

/** Below a tenth of a second in milliseconds. */
function formatTime(seconds: number): string {
  return seconds < 0.1 ? `${(seconds * 1000).toFixed(1)} ms` : formatSeconds(seconds);
}

export function renderResult({ name, machine, rounds, rows }: BenchResult): string {
  const right = { align: 'right' as const };
  const columns = [
    { title: 'CASE' },
    { title: 'BY' },
    { title: 'WALL', ...right },
    { title: 'CPU', ...right },
    { title: 'MEMORY', ...right },
    { title: 'RESULT', ...right },
  ];
  const cells = (label: string, by: string, figures: Figures): string[] => [
    label,
    by,
    formatTime(figures.wall),
    formatTime(figures.cpu),
    formatBytes(figures.rss),
    formatBytes(figures.bytes),
  ];
  const lines = rows.flatMap((row) => [
    cells(row.case, 'ingot', row.ours),
    ...(row.peer === null ? [] : [cells('', `${row.peer.name} ${row.peer.version}`, row.peer)]),
    ...(row.ratio === null || row.cpuRatio === null
      ? []
      : [['', 'ratio', row.ratio.toFixed(2), row.cpuRatio.toFixed(2)]]),
  ]);
  const { processor, cores, memory, system, loadBefore } = machine;
  return [
    `${name}: medians of ${rounds} rounds; ${cores} cores (${processor}), ${formatBytes(memory)}, ${system}, load ${loadBefore.toFixed(1)}`,
    '',
    formatTable(columns, lines),
    '',
  ].join('\n');
}
