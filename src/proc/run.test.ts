import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createWriteStream, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { IngotError } from '../errors.ts';
import { quoteArgv, run } from './run.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot run ä '));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function failureOf(promise: Promise<unknown>): Promise<IngotError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof IngotError)) throw new Error('expected an IngotError', { cause: error });
  return error;
}

/** A zombie, whose parent has not looked yet, counts as gone. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error('condition not met within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('environment and output', () => {
  test('starts from a minimal environment', async () => {
    const { stdout } = await run(['env'], { env: { EXTRA: 'x y' } });
    const names = stdout.split('\n').map((line) => line.replace(/=.*/, ''));
    expect(names.sort()).toEqual(['EXTRA', 'HOME', 'LC_ALL', 'PATH', 'TZ']);
  });

  test('gives each stream without its final newline, and every line as it comes', async () => {
    const lines: string[] = [];
    const result = await run(['sh', '-c', 'echo one; echo; printf "last"; echo two >&2'], {
      onLine: (line) => lines.push(line),
    });
    expect(result.stdout).toBe('one\n\nlast');
    expect(result.stderr).toBe('two');
    expect(lines.toSorted()).toEqual(['', 'last', 'one', 'two']);
  });

  test('a character cut by the end of a read is whole again', async () => {
    const lines: string[] = [];
    const script = String.raw`printf '\303'; sleep 0.1; printf '\244\n'`;
    const { stdout } = await run(['sh', '-c', script], { onLine: (line) => lines.push(line) });
    expect([stdout, lines]).toEqual(['ä', ['ä']]);
  });

  test('runs in a folder whose name has spaces and other letters', async () => {
    expect((await run(['pwd'], { cwd: folder })).stdout).toBe(folder);
  });
});

describe('input', () => {
  test('is closed unless given', async () => {
    expect((await run(['cat'])).stdout).toBe('');
  });

  test('is passed on byte for byte', async () => {
    const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 256);
    const path = join(folder, 'bytes');
    const out = createWriteStream(path);
    await run(['cat'], { stdin: bytes, stdoutTo: out });
    out.end();
    await finished(out);
    expect(Buffer.compare(await readFile(path), Buffer.from(bytes))).toBe(0);
  });

  test('may be a stream', async () => {
    expect((await run(['wc', '-c'], { stdin: Readable.from([Buffer.alloc(300_000)]) })).stdout).toBe(
      '300000',
    );
  });

  test('need not be read by the program', async () => {
    await run(['true'], { stdin: 'x'.repeat(10_000_000) });
    await run(['true'], { stdin: Readable.from(['x'.repeat(10_000_000)]) });
  });

  test('that fails ends the program and is the error', async () => {
    const broken = new Readable({
      read() {
        this.destroy(new Error('the disk is gone'));
      },
    });
    await expect(run(['cat'], { stdin: broken })).rejects.toThrow('the disk is gone');
  });
});

describe('stdoutTo', () => {
  test("an open descriptor is the program's own output", async () => {
    const path = join(folder, 'descriptor');
    await using file = await open(path, 'w');
    const program = ['sh', '-c', 'echo out; echo err >&2'] as const;
    const result = await run(program, { stdoutTo: file.fd });
    expect(result).toMatchObject({ stdout: '', stderr: 'err', exitCode: 0 });
    expect(readFileSync(path, 'utf8')).toBe('out\n');
    const failing = run(['sh', '-c', 'echo out; echo why >&2; exit 3'], { stdoutTo: file.fd });
    expect(await failureOf(failing)).toMatchObject({ code: 'TOOL_FAILED', output: 'why' });
    await file.write('still open\n');
    expect(readFileSync(path, 'utf8')).toBe('out\nout\nstill open\n');
  });

  test('is never overrun', async () => {
    let highest = 0;
    let total = 0;
    const slow: Writable = new Writable({
      highWaterMark: 16 * 1024,
      write(chunk: Buffer, _encoding, done) {
        highest = Math.max(highest, slow.writableLength);
        total += chunk.length;
        setTimeout(done, 2);
      },
    });
    await run(['head', '-c', '4000000', '/dev/zero'], { stdoutTo: slow });
    slow.end();
    await finished(slow);
    expect(total).toBe(4_000_000);
    expect(highest).toBeLessThan(200_000);
  });

  test('loses nothing when the reader pauses for longer than a silent stream is waited for', async () => {
    let total = 0;
    const stalling = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, done) {
        total += chunk.length;
        setTimeout(done, 400);
      },
    });
    await run(['head', '-c', '200000', '/dev/zero'], { stdoutTo: stalling });
    stalling.end();
    await finished(stalling);
    expect(total).toBe(200_000);
  });

  test('that breaks ends the program', async () => {
    const full = createWriteStream('/dev/full');
    const error = await failureOf(run(['cat', '/dev/zero'], { stdoutTo: full }));
    expect(error.code).toBe('DISK_FULL');
  });
});

describe('failure', () => {
  test('shows the command once and the last lines of output', async () => {
    const error = await failureOf(run(['sh', '-c', 'seq 100; echo why >&2; exit 3']));
    expect(error.code).toBe('TOOL_FAILED');
    expect(error.message).toBe(`sh exited with 3: sh -c 'seq 100; echo why >&2; exit 3'`);
    const lines = error.output?.split('\n') ?? [];
    expect(lines).toHaveLength(25);
    expect(lines).toContain('why');
  });

  test('may be an answer', async () => {
    expect((await run(['false'], { okExitCodes: [0, 1] })).exitCode).toBe(1);
  });

  test('by a signal says which', async () => {
    const error = await failureOf(run(['sh', '-c', 'kill -SEGV $$']));
    expect(error.message).toMatch(/^sh was ended by SIGSEGV/);
  });

  test('for want of space is DISK_FULL', async () => {
    const error = await failureOf(run(['sh', '-c', 'cat /etc/passwd > /dev/full']));
    expect(error.code).toBe('DISK_FULL');
    expect(error.hint).toContain('store gc');
  });

  test('a missing program, a missing folder and a file that is no program are told apart', async () => {
    expect((await failureOf(run(['no-such-program']))).code).toBe('TOOL_MISSING');
    const noFolder = await failureOf(run(['true'], { cwd: join(folder, 'nowhere') }));
    expect(noFolder.code).toBe('TOOL_FAILED');
    expect(noFolder.message).toContain('no such folder');
    const path = join(folder, 'data');
    await writeFile(path, 'x');
    const notProgram = await failureOf(run([path]));
    expect(notProgram.code).toBe('TOOL_FAILED');
    expect(notProgram.message).toContain('EACCES');
  });
});

describe('ending', () => {
  test('a grandchild that holds the pipe does not delay the answer', async () => {
    const started = performance.now();
    const { stdout } = await run(['sh', '-c', 'setsid sleep 30 & echo $!']);
    expect(performance.now() - started).toBeLessThan(2_000);
    const pid = Number(stdout);
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
  });

  test('a timeout ends grandchildren too', async () => {
    let pid = 0;
    const started = performance.now();
    const error = await failureOf(
      run(['sh', '-c', 'sleep 30 & echo $!; wait'], {
        timeoutMs: 300,
        onLine: (line) => {
          pid = Number(line);
        },
      }),
    );
    expect(error.code).toBe('TIMEOUT');
    expect(performance.now() - started).toBeLessThan(2_000);
    await until(() => !isAlive(pid));
  });

  test('silence counts from the last line, not from the start', async () => {
    const { stdout } = await run(['sh', '-c', 'for i in 1 2 3 4; do sleep 0.3; echo $i; done'], {
      silenceMs: 1_000,
    });
    expect(stdout).toBe('1\n2\n3\n4');
    const error = await failureOf(run(['sh', '-c', 'echo last words; exec sleep 30'], { silenceMs: 300 }));
    expect(error).toMatchObject({
      code: 'TIMEOUT',
      message: 'sh said nothing for 0.3 s',
      output: 'last words',
    });
  });

  test('a program that will not go is killed', async () => {
    const error = await failureOf(
      run(['sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done'], { timeoutMs: 200 }),
    );
    expect(error.code).toBe('TIMEOUT');
  });

  test('an abort ends the program, before and while it runs', async () => {
    expect((await failureOf(run(['true'], { signal: AbortSignal.abort() }))).code).toBe('INTERRUPTED');
    const controller = new AbortController();
    const error = await failureOf(
      run(['sh', '-c', 'echo ready; sleep 30'], {
        signal: controller.signal,
        onLine: () => {
          controller.abort();
        },
      }),
    );
    expect(error.code).toBe('INTERRUPTED');
  });
});

test('quoteArgv gives back what a shell reads', async () => {
  const argv = ['printf', '%s\\n', `it's`, 'a b', '$HOME', '', 'ä;|'] as const;
  const { stdout } = await run(['sh', '-c', quoteArgv(argv)]);
  expect(stdout).toBe(argv.slice(2).join('\n'));
});
