/**
 * The gate's verdict in systemd's journal, a record for each check and one for the whole, by field:
 * `journalctl MESSAGE_ID=… GATE_HEALTHY=0`.
 */
import { IngotError } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import { loggerJournalArgv, renderJournalEntry } from '../../tools/logger.ts';
import type { LastVerdict } from './last-verdict.ts';

/** Of a check, and of the verdict. Never changed: others look for them. */
export const CHECK_MESSAGE_ID = '0c2f6ce1b8c943d5a51f6f0b9d1d2a57';
export const VERDICT_MESSAGE_ID = '6a7e0d3f7b1a4c0f9e0a5e2b4d8c3f61';

/** syslog(3). */
const PRIORITY = { error: 3, warning: 4, notice: 5, info: 6 } as const;

type Fields = Readonly<Record<string, string | number | undefined>>;

export function journalRecords({ deployment, healthy, checks }: LastVerdict): readonly Fields[] {
  const common = { SYSLOG_IDENTIFIER: 'ingot', GATE_DEPLOYMENT: deployment };
  const failed = checks.filter((check) => !check.healthy && check.required).map(({ name }) => name);
  return [
    ...checks.map(({ name, source, required, timedOut, exitCode, seconds, output, ...check }) => {
      const remark = timedOut
        ? 'took too long'
        : exitCode === undefined
          ? 'failed'
          : `exited with ${exitCode}`;
      return {
        MESSAGE: `check ${name} ${check.healthy ? 'passed' : remark}`,
        MESSAGE_ID: CHECK_MESSAGE_ID,
        PRIORITY: check.healthy ? PRIORITY.info : required ? PRIORITY.error : PRIORITY.warning,
        ...common,
        GATE_CHECK: name,
        GATE_SOURCE: source,
        GATE_REQUIRED: required ? 1 : 0,
        GATE_HEALTHY: check.healthy ? 1 : 0,
        GATE_SECONDS: seconds,
        GATE_EXIT_CODE: exitCode,
        GATE_OUTPUT: output === '' ? undefined : output,
      };
    }),
    {
      MESSAGE: healthy ? 'this system is healthy' : `this system is not healthy: ${failed.join(', ')}`,
      MESSAGE_ID: VERDICT_MESSAGE_ID,
      PRIORITY: healthy ? PRIORITY.notice : PRIORITY.error,
      ...common,
      GATE_HEALTHY: healthy ? 1 : 0,
      GATE_CHECKS: checks.length,
    },
  ];
}

/** @returns why it could not be told; the verdict stands without it */
export async function tellJournal(verdict: LastVerdict, signal?: AbortSignal): Promise<string | undefined> {
  try {
    for (const record of journalRecords(verdict)) {
      await run(loggerJournalArgv(), { stdin: renderJournalEntry(record), signal, timeoutMs: 10_000 });
    }
    return undefined;
  } catch (error) {
    if (!(error instanceof IngotError) || error.code === 'INTERRUPTED') throw error;
    return error.message;
  }
}
