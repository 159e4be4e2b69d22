/** `ingot node install`: what an installer medium runs on the machine that it was put into. */
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { LAST_VERB_FILE } from '../../disk/installer/boot-files.ts';
import { askWhichDisk, Consoles } from '../../disk/installer/consoles.ts';
import { findDisks, findMediums } from '../../disk/installer/find-disks.ts';
import { findMedium } from '../../disk/installer/find-medium.ts';
import { type Installed, installMachine } from '../../disk/installer/install.ts';
import { AGAIN_ARGUMENT, type Medium, MEDIUM_ARGUMENT } from '../../disk/installer/medium.ts';
import { describeDisk, type Disk, type TargetRule } from '../../disk/installer/target.ts';
import { IngotError } from '../../errors.ts';
import { DiskTools } from '../../ostree/disk-tools.ts';
import { run } from '../../proc/run.ts';
import type { ToolsRoot } from '../../tools/tools-root.ts';
import type { CommandContext, CommandResult } from '../context.ts';

export interface InstallOptions {
  readonly medium?: string;
  readonly to?: TargetRule;
  readonly wipe?: true;
  readonly booted?: true;
}

/** How long a stick may take to appear, and until disks count as all there. */
const MEDIUM_MS = 120_000;
const SETTLE_MS = 5_000;
/** To read what is said before the machine goes. */
const LAST_WORDS_MS = 10_000;

/** Programs of the system that we run on, as they are. */
const HOST_PROGRAMS: ToolsRoot = { path: '/', argv: (program) => program };

export async function install(context: CommandContext, options: InstallOptions): Promise<CommandResult> {
  const { cwd, reporter, signal } = context;
  if (process.getuid?.() !== 0) {
    throw new IngotError('NOT_ROOT', 'only root can write disks', {
      hint: 'run the same command as root, for example with sudo',
    });
  }
  const isBooted = options.booted === true;
  const words = isBooted ? (await readFile('/proc/cmdline', 'utf8')).trim().split(/\s+/) : [];
  const given = options.medium;
  if (isBooted) await run(['udevadm', 'settle', '--timeout=60'], { signal, okExitCodes: [0, 1] });
  await using found = await reporter.stage('Find the medium', () =>
    findMedium({
      candidates: given === undefined ? findMediums : () => Promise.resolve([resolve(cwd, given)]),
      digest: words.find((word) => word.startsWith(`${MEDIUM_ARGUMENT}=`))?.slice(MEDIUM_ARGUMENT.length + 1),
      timeoutMs: given === undefined ? MEDIUM_MS : 0,
      signal,
    }),
  );
  const installed = await installMachine({
    found,
    disks: () => findDisks(found.path),
    settleMs: isBooted ? SETTLE_MS : 0,
    rule: options.to,
    wipe: options.wipe,
    again: !isBooted || words.includes(AGAIN_ARGUMENT),
    ask: isBooted ? (disks, medium) => askAtConsoles(disks, medium, signal) : undefined,
    tools: new DiskTools(HOST_PROGRAMS, signal),
    reporter,
    signal,
  });
  const result = renderInstalled(installed, found.medium);
  if (isBooted) await endMachine(installed, found.medium, result.text, context);
  return result;
}

async function askAtConsoles(disks: readonly Disk[], medium: Medium, signal: AbortSignal): Promise<Disk> {
  await using consoles = await Consoles.open();
  return await askWhichDisk(consoles, disks, medium, signal);
}

function renderInstalled(installed: Installed, { image }: Medium): CommandResult & { readonly text: string } {
  const { disk, state } = installed;
  return {
    json: {
      state,
      image,
      disk: {
        path: disk.paths[0],
        size: disk.size,
        ...(disk.serial !== undefined && { serial: disk.serial }),
      },
      ...(installed.state === 'installed' && { rootUuid: installed.identity.rootUuid }),
    },
    text:
      state === 'installed'
        ? `${image.name} ${image.version} is installed to ${describeDisk(disk)}`
        : `${describeDisk(disk)} was installed from this medium already, and is left as it is: remove the medium`,
  };
}

/**
 * Says what becomes of the machine; the installer's unit does it. One that starts from its medium first would otherwise
 * start it again and again.
 */
async function endMachine(
  installed: Installed,
  medium: Medium,
  words: string,
  { reporter }: CommandContext,
): Promise<void> {
  const verb = installed.state === 'already' || medium.then === 'power-off' ? 'poweroff' : 'reboot';
  reporter.info(`${words}; ${verb === 'reboot' ? 'restarting' : 'switching off'}`);
  await writeFile(LAST_VERB_FILE, verb);
  await new Promise((done) => setTimeout(done, LAST_WORDS_MS));
}
