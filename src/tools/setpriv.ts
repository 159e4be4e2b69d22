/** setpriv of util-linux: runs a program as somebody else. Manual: setpriv(1). */
import type { Argv } from '../proc/run.ts';

/** As a user and group without name and groups, who can gain nothing by any program. */
export function asUserArgv(id: number, program: Argv): Argv {
  return [
    'setpriv',
    ...['--reuid', String(id), '--regid', String(id), '--clear-groups', '--inh-caps=-all', '--no-new-privs'],
    '--',
    ...program,
  ];
}
