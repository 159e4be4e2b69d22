/** The SPDX project's own validator, of Debian sid: https://github.com/spdx/tools-python. */
import { join } from 'node:path';

import { run } from '../../src/proc/run.ts';
import { sidTools } from './sid-tools.ts';

/** What is wrong with the document at `path`, which ends in `.spdx.json`; empty when it is valid SPDX 2.3. */
export async function spdxComplaints(path: string): Promise<string> {
  const tools = await sidTools(['python3-spdx-tools', 'python3']);
  const module = 'spdx_tools.spdx.clitools.pyspdxtools';
  const { exitCode, stderr } = await run(
    tools.argv('python3', '-m', module, '--infile', path, '--version', 'SPDX-2.3'),
    {
      env: {
        PYTHONHOME: join(tools.path, 'usr'),
        PYTHONPATH: join(tools.path, 'usr/lib/python3/dist-packages'),
        PYTHONDONTWRITEBYTECODE: '1',
      },
      okExitCodes: [0, 1],
    },
  );
  return exitCode === 0 ? '' : stderr;
}
