/** A difference as a person reads it: what it means for the node first, every detail after that. */
import type { AccountDifference } from '../../compare/compare-accounts.ts';
import type { FactChange, ImageDifference, SideNames } from '../../compare/compare-images.ts';
import type { PackageDifference } from '../../compare/compare-packages.ts';
import type { Pull } from '../../compare/pull.ts';
import { formatBytes, formatCount, wrapText } from '../../report/format.ts';
import type { Paint, Palette } from '../../report/palette.ts';
import { printableName } from '../../report/printable.ts';
import { describeChange, groupFiles } from './file-groups.ts';

const WIDTH = 100;
const SHOWN_PACKAGES = 40;
const SHOWN_GROUPS = 16;
const SHOWN_FILES = 6;
const SHOWN_BLOBS = 20;

export const FACT_TITLES: Readonly<Record<FactChange['what'], string>> = {
  base: 'Base',
  architecture: 'Architecture',
  kernel: 'Kernel',
  driver: 'Driver',
  cuda: 'CUDA',
  runtime: 'Runtime',
  container: 'Container',
  model: 'Model',
};

export function renderImageDifference(difference: ImageDifference, palette: Palette): string {
  const { from, to, isSame, untold } = difference;
  const head = [
    palette.strong(`${titleOf(from)} → ${titleOf(to)}`),
    ...[from, to].map((side, index) => `  ${index === 0 ? 'from' : 'to  '}  ${sourceOf(side, palette)}`),
  ];
  const notes = untold
    .flatMap((text) => wrapText(`Not told: ${printableName(text)}.`, WIDTH))
    .map(palette.faint);
  if (isSame) {
    return `${[...head, '', palette.success('They are the same.'), ...(notes.length > 0 ? ['', ...notes] : [])].join('\n')}\n`;
  }
  const blocks = [
    head,
    summaryBlock(difference, palette),
    packageBlock(difference.packages, palette),
    listBlock('Kernel arguments', difference.kernelArguments, palette),
    unitBlock(difference, palette),
    accountBlock('Users', difference.users, palette),
    accountBlock('Groups', difference.groups, palette),
    fileBlock(difference, palette),
    pullBlock(difference.pull, palette),
    notes,
  ];
  return `${blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`;
}

export function titleOf({ name, version, shown }: SideNames): string {
  return printableName([name ?? shown, version].filter(Boolean).join(' '));
}

function sourceOf({ shown, digest, kind }: SideNames, palette: Palette): string {
  const what = digest === undefined ? kind : `${digest.slice(0, 'sha256:'.length + 12)}…`;
  return `${printableName(shown)}  ${palette.faint(what)}`;
}

function summaryBlock(difference: ImageDifference, palette: Palette): string[] {
  const rows = summaryRows(difference, palette);
  const width = Math.max(...rows.map(([title]) => title.length));
  return rows.map(([title, text]) => `  ${palette.faint(title.padEnd(width))}  ${text}`);
}

/** One line each for what decides whether somebody wants this update, and when. */
export function summaryRows(
  difference: ImageDifference,
  palette: Palette,
): readonly (readonly [title: string, text: string])[] {
  const rows: (readonly [title: string, text: string])[] = [];
  const { pull, boundPull, facts, gpus, files } = difference;
  if (pull !== undefined) rows.push(['Pull', pullSentence(pull)]);
  if (boundPull !== undefined) {
    const { bytes, size } = boundPull;
    const pulled = bytes === 0 ? 'nothing' : formatBytes(bytes);
    rows.push([
      'Beside it',
      `${pulled} of containers and models (${formatBytes(size.from)} → ${formatBytes(size.to)})`,
    ]);
  }
  rows.push(['Restart', rebootWords(difference, palette)]);
  for (const { what, name, from, to } of facts) {
    const isOneOfMany = what === 'container' || what === 'model';
    const title =
      what === 'runtime'
        ? printableName(name)
        : `${FACT_TITLES[what]}${isOneOfMany ? ` ${printableName(name)}` : ''}`;
    rows.push([title, moveOf(from, to, palette)]);
  }
  for (const { name, pci } of gpus?.lost ?? []) {
    rows.push(['GPU lost', palette.error(`- ${printableName(name)} (${pci.join(', ')})`)]);
  }
  for (const { name, pci } of gpus?.gained ?? []) {
    rows.push(['GPU gained', palette.success(`+ ${printableName(name)} (${pci.join(', ')})`)]);
  }
  if (files?.length === 0 && pull !== undefined && pull.bytes > 0) {
    rows.push(['Files', 'all the same: times in the archives differ, or how files are packed']);
  }
  return rows;
}

export function pullSentence({ bytes, reused, size, byDeltas }: Pull): string {
  const delta = size.to - size.from;
  const sizes = `image ${formatBytes(size.from)} → ${formatBytes(size.to)}${delta === 0 ? '' : `, ${delta > 0 ? '+' : '−'}${formatBytes(Math.abs(delta))}`}`;
  if (bytes === 0) return `nothing (${sizes})`;
  const kept = reused === 0 ? 'nothing' : formatBytes(reused);
  const whole = formatBytes(bytes);
  const pulled =
    byDeltas === undefined
      ? whole
      : `${formatBytes(byDeltas.bytes)}, by ${formatCount(byDeltas.blobs, 'delta')} instead of ${whole}`;
  return `${pulled}; ${kept} of the new image is on the node already (${sizes})`;
}

function rebootWords({ reboot: { kind, reasons } }: ImageDifference, palette: Palette): string {
  switch (kind) {
    case 'none':
      return 'none';
    case 'soft':
      return palette.success('a soft reboot does: kernel, modules, initramfs and arguments stay');
    case 'full':
      return `${palette.warning('full reboot')}: ${printableName(reasons.join('; '))}`;
    case 'unknown':
      return `a soft reboot may do: not told is ${reasons.join(', and ')}`;
  }
}

function moveOf(from: string | undefined, to: string | undefined, palette: Palette): string {
  if (from === undefined) return palette.success(`+ ${printableName(to ?? '')}`);
  if (to === undefined) return palette.error(`- ${printableName(from)}`);
  return `${printableName(from)} → ${printableName(to)}`;
}

function packageBlock(packages: PackageDifference | undefined, palette: Palette): string[] {
  if (packages === undefined) return [];
  const { added, removed, changed } = packages;
  const total = added.length + removed.length + changed.length;
  if (total === 0) return [];
  const order = (direction: string, security: boolean): number =>
    direction === 'older' ? 0 : security ? 1 : 2;
  const moved = [...changed].sort(
    (left, right) => order(left.direction, left.security) - order(right.direction, right.security),
  );
  const rows: (readonly [mark: string, name: string, text: string, paint: Paint])[] = [
    ...removed.map((item) => ['-', item.name, item.version, palette.error] as const),
    ...added.map((item) => ['+', item.name, item.version, palette.success] as const),
    ...moved.map(({ name, from, to, direction, security }) => {
      const remarks = [
        ...(direction === 'older'
          ? ['older']
          : direction === 'content'
            ? ['same version, other content']
            : []),
        ...(security ? ['security'] : []),
      ];
      const text = direction === 'content' ? from : `${from} → ${to}`;
      const remark = remarks.length === 0 ? '' : `  (${remarks.join(', ')})`;
      return ['~', name, `${text}${remark}`, direction === 'older' ? palette.warning : plain] as const;
    }),
  ];
  const shown = rows.slice(0, SHOWN_PACKAGES);
  const width = Math.max(...shown.map(([, name]) => name.length));
  return [
    `${palette.strong('Packages')}  ${counts(added.length, removed.length, changed.length)}`,
    ...shown.map(([mark, name, text, paint]) =>
      `  ${paint(`${mark} ${printableName(name).padEnd(width)}`)}  ${printableName(text)}`.trimEnd(),
    ),
    ...more(rows.length - shown.length, palette),
  ];
}

const plain: Paint = (text) => text;

function counts(added: number, removed: number, changed: number): string {
  const parts = [
    ...(added > 0 ? [`${added} added`] : []),
    ...(removed > 0 ? [`${removed} removed`] : []),
    ...(changed > 0 ? [`${changed} changed`] : []),
  ];
  return parts.join(', ');
}

function more(count: number, palette: Palette): string[] {
  return count > 0 ? [palette.faint(`  and ${count} more: --json has them all`)] : [];
}

function listBlock(title: string, list: ImageDifference['kernelArguments'], palette: Palette): string[] {
  const { added = [], removed = [] } = list ?? {};
  if (added.length + removed.length === 0) return [];
  return [
    palette.strong(title),
    ...removed.map((value) => `  ${palette.error(`- ${printableName(value)}`)}`),
    ...added.map((value) => `  ${palette.success(`+ ${printableName(value)}`)}`),
  ];
}

function unitBlock({ units = [] }: ImageDifference, palette: Palette): string[] {
  if (units.length === 0) return [];
  const shown = units.slice(0, SHOWN_PACKAGES);
  const width = Math.max(...shown.map(({ name }) => name.length));
  return [
    `${palette.strong('Services')}  ${formatCount(units.length, 'unit')}`,
    ...shown.map(({ name, changes }) => {
      const [first] = changes;
      const mark = first === 'added' ? '+' : first === 'removed' ? '-' : '~';
      const paint = mark === '+' ? palette.success : mark === '-' ? palette.error : plain;
      return `  ${paint(`${mark} ${printableName(name).padEnd(width)}`)}  ${changes.join(', ')}`;
    }),
    ...more(units.length - shown.length, palette),
  ];
}

function accountBlock(title: string, accounts: AccountDifference | undefined, palette: Palette): string[] {
  const { added = [], removed = [], changed = [] } = accounts ?? {};
  if (added.length + removed.length + changed.length === 0) return [];
  return [
    palette.strong(title),
    ...removed.map(({ name, id }) => `  ${palette.error(`- ${printableName(name)}`)}  ${id}`),
    ...added.map(({ name, id }) => `  ${palette.success(`+ ${printableName(name)}`)}  ${id}`),
    ...changed.map(({ from, to }) => {
      const number = from.id === to.id ? '' : ` ${from.id} → ${to.id}`;
      const rest =
        from.rest === to.rest
          ? ''
          : ` ${printableName(from.rest) || 'nothing'} → ${printableName(to.rest) || 'nothing'}`;
      return `  ~ ${printableName(to.name)} ${number}${rest}`;
    }),
  ];
}

function fileBlock({ files = [] }: ImageDifference, palette: Palette): string[] {
  if (files.length === 0) return [];
  const groups = groupFiles(files);
  const shown = groups.slice(0, SHOWN_GROUPS);
  const total = (change: string): number => files.filter((file) => file.change === change).length;
  const lines = shown.flatMap(({ title, changes, added, removed, changed }) => {
    const isFolder = title.startsWith('/');
    const summary = `  ${printableName(title)}${isFolder ? '/' : ''}  ${palette.faint(counts(added, removed, changed))}`;
    // A package's files are told by the package.
    if (!isFolder) return [summary];
    const listed = changes.slice(0, SHOWN_FILES).map((change) => {
      const [mark, paint] =
        change.change === 'added'
          ? (['+', palette.success] as const)
          : change.change === 'removed'
            ? (['-', palette.error] as const)
            : (['~', plain] as const);
      const detail =
        change.change === 'changed' ? `  ${palette.faint(printableName(describeChange(change)))}` : '';
      return `    ${paint(`${mark} /${printableName(change.path)}`)}${detail}`;
    });
    const rest = changes.length - listed.length;
    return [summary, ...listed, ...(rest > 0 ? [palette.faint(`    and ${rest} more`)] : [])];
  });
  return [
    `${palette.strong('Files')}  ${counts(total('added'), total('removed'), total('changed'))}`,
    ...lines,
    ...(groups.length > shown.length
      ? [
          palette.faint(
            `  and ${groups.length - shown.length} more packages and folders: --json has them all`,
          ),
        ]
      : []),
  ];
}

function pullBlock(pull: Pull | undefined, palette: Palette): string[] {
  if (pull === undefined || pull.blobs.length === 0) return [];
  const blobs = [...pull.blobs].sort((left, right) => right.size - left.size);
  const shown = blobs.slice(0, SHOWN_BLOBS);
  const names = shown.map(({ layer, chunk, digest }) =>
    printableName([layer ?? digest.slice(7, 19), chunk].filter(Boolean).join('/')),
  );
  const width = Math.max(...names.map((name) => name.length));
  return [
    `${palette.strong('To pull')}  ${formatCount(blobs.length, 'blob')}, ${formatBytes(pull.bytes)}`,
    ...shown.map(({ size, shares }, index) => {
      const most = shares
        .slice(0, 3)
        .map(({ what, bytes }) => `${printableName(what)} ${formatBytes(bytes)}`)
        .join(', ');
      return `  ${(names[index] ?? '').padEnd(width)}  ${formatBytes(size).padStart(8)}  ${palette.faint(most)}`.trimEnd();
    }),
    ...more(blobs.length - shown.length, palette),
  ];
}
