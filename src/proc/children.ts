/** The process groups that are running on our behalf, so that a forced exit leaves none behind. */
import { errnoOf } from '../errors.ts';

const groups = new Set<number>();

/** Registers a process group until the returned function is called. */
export function trackGroup(pid: number): () => void {
  groups.add(pid);
  return () => {
    groups.delete(pid);
  };
}

/** Signals a whole process group. No error if it is gone already or has become another user's. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== 'ESRCH' && errno !== 'EPERM') throw error;
  }
}

/** The last resort before an exit that does not wait for cleanup. */
export function killAllGroups(): void {
  for (const pid of groups) killGroup(pid, 'SIGKILL');
}
