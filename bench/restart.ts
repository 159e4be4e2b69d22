/**
 * `bench restart`: how long a node is down when it goes over to another image, by a soft reboot and in full. One machine,
 * emulated where there is no KVM, goes from one image to the next, back in full, and forward again: `ingot test --from`.
 *
 * Down is from when systemd says that multi-user.target is stopped until it says that it is reached again, by the
 * console's own times. `wall` is that time; processor time and memory are the whole command's, and say little.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { IngotError } from '../src/errors.ts';
import { TEST_FOLDER } from '../test/support/built-image.ts';
import { VmImages, WELL } from '../test/support/vm-node.ts';
import type { BenchContext, Benchmark } from './benchmark.ts';
import { measure } from './measure.ts';
import { figuresOf, rowOf, type Row, type Sample } from './result.ts';

export const restart: Benchmark = {
  summary: 'how long a node is down for a soft and for a full restart',
  run: runRestart,
};

/** In the order in which `ingot test --from` restarts. */
const RESTARTS = ['soft', 'full', 'soft'] as const;

async function runRestart({
  scratch,
  rounds,
  reporter,
  signal,
  productRoot,
}: BenchContext): Promise<readonly Row[]> {
  await mkdir(TEST_FOLDER, { recursive: true });
  // On the file system of the images, which are linked.
  const folder = await mkdtemp(join(TEST_FOLDER, 'bench-restart-'));
  const samples = { soft: [] as Sample[], full: [] as Sample[] };
  try {
    const images = await VmImages.open(folder);
    const [from, to] = [
      await images.add('20991231.1', WELL),
      await images.add('20991231.2', { ...WELL, 'etc/next': 'next\n', 'usr/share/next': 'next\n' }),
    ];
    for (let round = 1; round <= rounds; round += 1) {
      const keep = join(folder, `kept-${round}`);
      const reference = ({ name }: { readonly name: string }): string => `oci:${images.layout}:${name}`;
      const { measurement } = await reporter.stage(`Round ${round} of ${rounds}`, () =>
        measure(
          [
            join(productRoot, 'bin/ingot'),
            ...['--json', '--store', images.base.store, 'test', reference(to), '--from', reference(from)],
            ...['--keep', keep],
          ],
          {
            scratch,
            signal,
            onLine: (line) => {
              reporter.debug(line);
            },
          },
        ),
      );
      const times = downtimes(await readFile(join(keep, 'console.log'), 'utf8'));
      for (const [index, kind] of RESTARTS.entries()) {
        const wall = times[index];
        if (wall === undefined) {
          throw new IngotError(
            'TOOL_FAILED',
            `the console tells of ${times.length} restarts, not ${RESTARTS.length}`,
          );
        }
        samples[kind].push({ ...measurement, wall, bytes: 0 });
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return (['soft', 'full'] as const).map((kind) => rowOf(`down, ${kind}`, figuresOf(samples[kind]), null));
}

/** Seconds, one for each time that the target was stopped and reached again. */
function downtimes(console: string): readonly number[] {
  const times: number[] = [];
  let stopped: number | undefined;
  for (const line of console.split('\n')) {
    const [, seconds, what] =
      /^\[ *(\d+\.\d+)\] .*(Stopped|Reached) target .*multi-user\.target/.exec(line) ?? [];
    if (what === 'Stopped') stopped = Number(seconds);
    if (what !== 'Reached' || stopped === undefined) continue;
    times.push(Number(seconds) - stopped);
    stopped = undefined;
  }
  return times;
}
