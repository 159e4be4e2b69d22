/** A node's deployments and updates, for people and as JSON. */
import type { Deployment } from '../../node/engine.ts';
import type { BackReason, BootState } from '../../node/boot/judge-boot.ts';
import type { UpdateRecord } from '../../node/journal.ts';
import { formatTable } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';

export type DeploymentState = 'booted' | 'staged' | 'pending' | 'rollback' | 'kept';

export interface DescribedDeployment {
  readonly index: number;
  readonly id: string;
  readonly state: DeploymentState;
  readonly pinned: boolean;
  /** /usr can be written to until the next restart. */
  readonly unlocked: boolean;
  readonly reference?: string;
  readonly digest?: string;
  readonly version?: string;
  readonly created?: string;
  readonly architecture?: string;
  readonly kernel?: string;
  readonly driver?: { readonly name: string; readonly version?: string; readonly modules?: string };
  readonly cuda?: string;
}

/** What is not known is left out. */
export function describeDeployment(deployment: Deployment, bootedIndex: number): DescribedDeployment {
  const { index, id, reference, digest, version, created, facts } = deployment;
  const { driver } = facts;
  return {
    index,
    id,
    state: stateOf(deployment, bootedIndex),
    pinned: deployment.isPinned,
    unlocked: deployment.isUnlocked,
    ...(reference !== undefined && { reference }),
    ...(digest !== undefined && { digest }),
    ...(version !== undefined && { version }),
    ...(created !== undefined && { created: new Date(created * 1000).toISOString() }),
    ...(facts.architecture !== undefined && { architecture: facts.architecture }),
    ...(facts.kernel !== undefined && { kernel: facts.kernel.release }),
    ...(driver !== undefined && {
      driver: {
        name: driver.name,
        ...(driver.version !== undefined && { version: driver.version }),
        ...(driver.modules !== undefined && { modules: driver.modules }),
      },
    }),
    ...(facts.cuda !== undefined && { cuda: facts.cuda }),
  };
}

export function describeDeployments(deployments: readonly Deployment[]): readonly DescribedDeployment[] {
  const booted = deployments.findIndex(({ isBooted }) => isBooted);
  return deployments.map((deployment) => describeDeployment(deployment, booted));
}

function stateOf(deployment: Deployment, bootedIndex: number): DeploymentState {
  if (deployment.isBooted) return 'booted';
  if (deployment.isStaged) return 'staged';
  if (deployment.index < bootedIndex) return 'pending';
  return deployment.isRollback ? 'rollback' : 'kept';
}

const DEPLOYMENT_COLUMNS = ['', 'STATE', 'VERSION', 'IMAGE', 'KERNEL', 'DRIVER', 'CUDA'] as const;

export function renderDeployments(deployments: readonly DescribedDeployment[]): string {
  const rows = deployments.map(
    ({ index, state, pinned, version, reference, digest, kernel, driver, cuda }) => [
      String(index),
      pinned ? `${state}, pinned` : state,
      version ?? '',
      reference ?? digest?.slice(0, 19) ?? '',
      kernel ?? '',
      [driver?.name, driver?.version].filter(Boolean).join(' '),
      cuda ?? '',
    ],
  );
  return renderColumns(DEPLOYMENT_COLUMNS, rows);
}

const BACK: Readonly<Record<BackReason, string>> = {
  tries: 'it was started too often without passing its checks',
  unloadable: 'its kernel could not be loaded',
  environment: 'GRUB could not count its starts',
};

/** What GRUB counts, where that is not the ordinary. */
export function renderBoot({ id, blessed, next, tries, back }: BootState): string[] {
  if (id === undefined) return [];
  const left = tries === undefined ? '' : `, ${tries} of its starts are left`;
  if (back !== undefined) return [`GRUB went back to it: of ${next ?? 'what was first'}, ${BACK[back]}`];
  if (blessed) return [];
  return next === undefined
    ? [`it is not known to be good yet${left}`]
    : [`it was started by hand: ${next} is first in the boot menu${left}`];
}

const OUTCOMES: Readonly<Record<UpdateRecord['outcome'], string>> = {
  started: 'did not end',
  downloaded: 'downloaded',
  staged: 'staged',
  restarting: 'restarted into',
  waiting: 'waits',
  refused: 'refused',
  failed: 'failed',
  interrupted: 'interrupted',
  discarded: 'given up',
  rollback: 'rolled back by hand',
  good: 'good',
  bad: 'not good',
  settled: 'went back by itself',
};

export function renderUpdates(updates: readonly UpdateRecord[]): string {
  const rows = updates.map(({ at, version, reference, outcome, reason }) => [
    at.slice(0, 16).replace('T', ' '),
    version ?? '',
    reference ?? '',
    OUTCOMES[outcome],
    reason ?? '',
  ]);
  return renderColumns(['WHEN', 'VERSION', 'IMAGE', 'CAME TO', ''], rows);
}

/** Texts of images and registries are a stranger's. Columns that nothing is in are left out. */
function renderColumns(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const used = titles.map((_, column) => rows.some((row) => row[column] !== ''));
  const only = (cells: readonly string[]): string[] => cells.filter((_, column) => used[column]);
  return formatTable(
    only(titles).map((title) => ({ title })),
    rows.map((row) => only(row).map(printableName)),
  );
}
