/** Runs command lines inside the test's own process, in a folder: quick, and errors arrive as they were thrown. */
import { COMMANDS } from '../../src/cli/commands.ts';
import { runProgram } from '../../src/cli/program.ts';

export interface InProcessResult {
  readonly exitCode: number;
  readonly stdout: string;
}

interface InProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Told every text that goes to stderr, which else is the test's own. */
  readonly onStderr?: (text: string) => void;
}

/** @throws whatever the command throws; nothing is rendered */
export async function runInProcess(
  cwd: string,
  args: readonly string[],
  { env = {}, onStderr }: InProcessOptions = {},
): Promise<InProcessResult> {
  let stdout = '';
  const exitCode = await runProgram(COMMANDS, args, {
    stdout: {
      write: (text: string) => {
        stdout += text;
      },
    },
    stderr: onStderr === undefined ? process.stderr : stderrTo(onStderr),
    env,
    cwd,
    signal: new AbortController().signal,
  });
  return { exitCode, stdout };
}

function stderrTo(tell: (text: string) => void): NodeJS.WriteStream {
  return { isTTY: false, write: (text: string) => (tell(text), true) } as unknown as NodeJS.WriteStream;
}
