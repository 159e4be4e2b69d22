/** `ingot catalog show nvidia`, `nvidia@580` and `cuda`. */
import type { CatalogLayer } from '../../catalog/layer.ts';
import { architecturesOf, releasesOf } from '../../catalog/facts/lookup.ts';
import type {
  DriverBranch,
  DriverRelease,
  Facts,
  KernelReport,
  NvidiaGpu,
} from '../../catalog/facts/types.ts';
import { rangeAdmits } from '../../catalog/facts/versions.ts';
import { formatTable } from '../../report/format.ts';
import type { CommandResult } from '../context.ts';
import { paragraph, section, shownList } from './layout.ts';
import { describeStatus, DOUBT_LEGEND, doubt, sourceLines, statusOf } from './status.ts';

export function showBranches(facts: Facts, layers: readonly CatalogLayer[], today: Date): CommandResult {
  const branches = [...facts.nvidia.branches.values()].reverse();
  const rows = branches.map((branch) => [
    `${branch.branch}${doubt(branch)}`,
    describeStatus(branch, today),
    branch.type === 'unknown' ? '' : branch.type,
    branch.cuda ?? '',
    branch.newest ?? '',
    branch.flavours.length > 1 ? 'both' : branch.flavours.join(),
    spanOfArchitectures(facts, branch),
  ]);
  const columns = ['BRANCH', 'STATUS', 'TYPE', 'CUDA', 'NEWEST', 'MODULES', 'GPUS'].map((title) => ({
    title,
  }));
  const offers = offersOf(layers, 'nvidia');
  return {
    json: {
      name: 'nvidia',
      facts: facts.digest,
      branches: branches.map((branch) => branchToJson(facts, branch, today)),
      offers,
    },
    text: [
      'NVIDIA drivers',
      '',
      formatTable(columns, rows),
      '',
      DOUBT_LEGEND,
      ...offerSection(offers),
      '',
      'One branch with its releases: ingot catalog show nvidia@580',
      '',
    ].join('\n'),
  };
}

export function showBranch(facts: Facts, branch: DriverBranch, today: Date): CommandResult {
  const releases = releasesOf(facts.nvidia, branch.branch).reverse();
  const rows = releases.map((release) => [
    `${release.version}${doubt(release)}`,
    release.date ?? '',
    release.kernel ?? '',
    remarks(facts, release),
  ]);
  const columns = ['RELEASE', 'DATE', 'KERNEL', 'REMARKS'].map((title) => ({ title }));
  const architectures = architecturesOf(facts.nvidia, branch).map(({ title }) => title);
  const read = branch.listed?.last;
  const wide = failures(facts, branch.branch).filter(
    ({ driver }) => !facts.nvidia.releases.has(driver.text.replace(/^= /, '') as DriverRelease['version']),
  );
  const body = [
    `NVIDIA driver ${branch.branch}: ${describeStatus(branch, today)}${branch.type === 'unknown' ? '' : `, ${branch.type}`}`,
    '',
    ...section([
      ['CUDA', branch.cuda === undefined ? 'not stated' : `${branch.cuda}, and older ones`],
      ['modules', branch.flavours.join(', ')],
      ['GPUs', architectures.join(', ')],
      ['GPU lists', read === undefined ? 'not read: exact support is not known' : `read to ${read}`],
      ['note', branch.note],
    ]),
    '',
    formatTable(columns, rows),
    '',
    ...paragraph(
      'KERNEL is the newest series that the release was prepared for: evidence, no promise. A GPU named in the remarks came with that release.',
    ),
    ...wide.flatMap(({ driver, kernel, symptom }) =>
      paragraph(
        `Driver ${driver.text} fails with kernel ${kernel.text}${symptom === undefined ? '' : `: ${symptom}`}.`,
      ),
    ),
    ...(branch.confidence === 'low' || releases.some(({ confidence }) => confidence === 'low')
      ? [DOUBT_LEGEND]
      : []),
    '',
    'Sources',
    ...sourceLines([branch]).flatMap((line) => paragraph(line, 2)),
    '',
  ];
  return {
    json: {
      name: `nvidia@${branch.branch}`,
      facts: facts.digest,
      ...branchToJson(facts, branch, today),
      sources: branch.sources,
      releases: releases.map(({ version, date, kernel, confidence, note }) => ({
        version,
        ...(date !== undefined && { date }),
        ...(kernel !== undefined && { kernel }),
        ...(note !== undefined && { note }),
        confidence,
        newGpus: newIn(facts, version).map(({ product }) => product),
      })),
    },
    text: body.join('\n'),
  };
}

export function showToolkits(facts: Facts, layers: readonly CatalogLayer[]): CommandResult {
  const toolkits = [...facts.nvidia.toolkits.values()].reverse();
  const columns = ['CUDA', 'ITS DRIVER', 'RUNS FROM', 'REMARKS'].map((title) => ({ title }));
  const rows = toolkits.map((toolkit) => {
    const minor = facts.nvidia.minorCompatibility.get(Number.parseInt(toolkit.version, 10))?.driver;
    return [
      `${toolkit.version}${doubt(toolkit)}`,
      toolkit.driver ?? 'not seen',
      minor?.text ?? '',
      toolkit.preview ? 'preview' : (toolkit.title ?? ''),
    ];
  });
  const offers = offersOf(layers, 'cuda');
  return {
    json: {
      name: 'cuda',
      facts: facts.digest,
      toolkits: toolkits.map(({ version, driver, preview, confidence }) => ({
        version,
        ...(driver !== undefined && { driver }),
        preview,
        confidence,
      })),
      compat: [...facts.nvidia.forwardCompatibility.values()].map(
        ({ cuda, branches, complete, classes }) => ({
          cuda,
          branches,
          complete,
          classes,
        }),
      ),
      offers,
    },
    text: [
      'CUDA toolkits',
      '',
      formatTable(columns, rows),
      '',
      ...paragraph(
        'A driver older than the toolkit’s own, but new enough for its major (RUNS FROM), runs it with the features of its own CUDA. cuda-compat packages lift older branches on data-center GPUs:',
      ),
      ...[...facts.nvidia.forwardCompatibility.values()].map(
        (row) => `  ${row.package}  ${row.branches.join(', ')}${row.complete ? '' : ', …'}${doubt(row)}`,
      ),
      ...offerSection(offers),
      '',
      DOUBT_LEGEND,
      '',
    ].join('\n'),
  };
}

function branchToJson(facts: Facts, branch: DriverBranch, today: Date): Readonly<Record<string, unknown>> {
  return {
    branch: branch.branch,
    status: statusOf(branch, today),
    ...(branch.endOfLife !== undefined && { endOfLife: branch.endOfLife }),
    type: branch.type,
    ...(branch.cuda !== undefined && { cuda: branch.cuda }),
    ...(branch.newest !== undefined && { newest: branch.newest }),
    modules: branch.flavours,
    architectures: architecturesOf(facts.nvidia, branch).map(({ name }) => name),
    confidence: branch.confidence,
    ...(branch.note !== undefined && { note: branch.note }),
  };
}

/** `Maxwell to Blackwell`. */
function spanOfArchitectures(facts: Facts, branch: DriverBranch): string {
  const titles = architecturesOf(facts.nvidia, branch)
    .filter(({ confidence }) => confidence !== 'low')
    .map(({ title }) => title);
  const [first, last] = [titles[0], titles.at(-1)];
  return first === undefined || last === undefined ? '' : first === last ? first : `${first} – ${last}`;
}

/** Failed builds of a branch with plain kernels; those of one distribution's packages are for the solver. */
function failures(
  facts: Facts,
  branch: number,
): readonly (KernelReport & Required<Pick<KernelReport, 'driver'>>)[] {
  const releases = releasesOf(facts.nvidia, branch);
  return facts.nvidia.kernelReports.flatMap(({ driver, ...report }) =>
    driver !== undefined &&
    report.component === 'driver' &&
    report.result === 'fails' &&
    report.packages === undefined &&
    releases.some(({ version }) => rangeAdmits(driver, version))
      ? [{ ...report, driver }]
      : [],
  );
}

/** GPUs that the branch did not have before this release. */
function newIn(facts: Facts, version: DriverRelease['version']): readonly NvidiaGpu[] {
  return facts.nvidia.gpus.filter((gpu) =>
    [...gpu.since].some(
      ([branch, first]) =>
        first === version &&
        (gpu.sinceEvery === undefined || branch <= gpu.sinceEvery) &&
        ![...gpu.since.keys()].some((other) => other < branch),
    ),
  );
}

function remarks(facts: Facts, release: DriverRelease): string {
  const gpus = newIn(facts, release.version).filter(
    (gpu) => gpu.class === 'data-center' || gpu.class === 'workstation',
  );
  const trouble = failures(facts, release.branch)
    .filter(({ driver }) => driver.text.replace(/^= /, '') === release.version)
    .map(({ kernel }) => `fails with kernel ${kernel.text.replace(/^= /, '')}`);
  const products = gpus.map(({ product }) => product.replace(/ (?:Blackwell|Generation|Edition)/g, ''));
  return [...(products.length > 0 ? [shownList(products, 3)] : []), ...trouble].join('; ');
}

interface ShownOffer {
  readonly layer: string;
  readonly version: string;
  readonly in: readonly string[];
}

/** Versions that the catalogue's layers bring, by what they provide. */
export function offersOf(layers: readonly CatalogLayer[], provides: string): readonly ShownOffer[] {
  return layers
    .filter(({ definition }) => definition.provides.includes(provides))
    .flatMap(({ definition }) =>
      (definition.offers ?? []).map((offer) => ({
        layer: `${definition.kind}/${definition.name}`,
        version: offer.version,
        in: offer.in,
      })),
    );
}

function offerSection(offers: readonly ShownOffer[]): string[] {
  if (offers.length === 0) return [];
  const columns = [{ title: 'LAYER' }, { title: 'VERSION' }, { title: 'ON' }];
  return [
    '',
    formatTable(
      columns,
      offers.map((offer) => [offer.layer, offer.version, offer.in.join(', ')]),
    ),
  ];
}
