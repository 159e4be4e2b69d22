/** Runs command lines inside the test's own process, in a folder: quick, and errors arrive as they were thrown. */
import { runProgram } from '../../src/cli/program.ts';

export interface InProcessResult {
  readonly exitCode: number;
  readonly stdout: string;
}

/** @throws whatever the command throws; nothing is rendered */
export async function runInProcess(cwd: string, args: readonly string[]): Promise<InProcessResult> {
  let stdout = '';
  const exitCode = await runProgram(args, {
    stdout: {
      write: (text: string) => {
        stdout += text;
      },
    },
    stderr: process.stderr,
    env: {},
    cwd,
    signal: new AbortController().signal,
  });
  return { exitCode, stdout };
}
