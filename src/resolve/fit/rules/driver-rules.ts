/** What a driver release is, whether anybody still mends it, and which kernel modules it can have. */
import type { ModuleChoice, ModuleRule } from '../../../catalog/facts/types.ts';
import {
  branchOf,
  compareVersions,
  isSoftwareVersion,
  rangeAdmits,
} from '../../../catalog/facts/versions.ts';
import { defaultFlavour, isEligible, supportTier } from '../driver-candidates.ts';
import type { AskedGpu, Problem } from '../problem.ts';
import { note, refuse, warn, type Candidate, type Judgement, type Rule } from '../rule.ts';

export const DRIVER_RULES: readonly Rule[] = [
  {
    id: 'modules-mixed',
    statement: 'A host loads one nvidia.ko, so its GPUs must agree on a flavour of kernel modules.',
    stage: 'host',
    judge: modulesMixed,
  },
  {
    id: 'modules-gpu',
    statement:
      'GPUs before Turing need proprietary modules; Grace Hopper, Blackwell and later need open ones.',
    stage: 'driver',
    judge: modulesGpu,
  },
  {
    id: 'modules-driver',
    statement: 'Which flavours of kernel modules there are depends on the driver.',
    stage: 'driver',
    judge: modulesDriver,
  },
  {
    id: 'modules-addon',
    statement: 'Some addons work with one flavour of kernel modules only.',
    stage: 'driver',
    judge: modulesAddon,
  },
  {
    id: 'one-version',
    statement: 'Kernel modules, GSP firmware and libraries of a driver carry one version.',
    stage: 'driver',
    judge: oneVersion,
  },
  {
    id: 'driver-end-of-life',
    statement: 'A branch past its end of life gets no fixes, security fixes included.',
    stage: 'driver',
    judge: endOfLife,
  },
  {
    id: 'driver-known',
    statement: 'What is not in the facts is judged by what is nearest to it.',
    stage: 'driver',
    judge: driverKnown,
  },
];

function modulesMixed(_: Candidate, problem: Problem): Judgement[] {
  const { nvidia, request } = problem;
  if (request.driver === undefined) return [];
  const firstOf = (choice: ModuleChoice): (typeof nvidia)[number] | undefined =>
    nvidia.find(({ gpu }) => gpu.modules === choice);
  const proprietary = firstOf('proprietary');
  const open = firstOf('open');
  if (proprietary === undefined || open === undefined) return [];
  const rule = problem.index.facts.nvidia.moduleRules.find(
    ({ mixes = [], then }) => then === 'refuse' && mixes.includes('proprietary') && mixes.includes('open'),
  );
  const message = `${proprietary.gpu.product} needs proprietary kernel modules and ${open.gpu.product} open ones; a host has one flavour`;
  const rows = [...(rule === undefined ? [] : [rule]), proprietary.gpu, open.gpu];
  return [refuse(message, rows, [open.element, proprietary.element])];
}

function modulesGpu({ driver }: Candidate, { nvidia }: Problem): Judgement[] {
  const flavour = driver?.flavour;
  if (flavour === undefined) return [];
  return nvidia.flatMap(({ element, gpu }) => {
    if (gpu.modules === 'either' || gpu.modules === flavour) return [];
    const message = `${gpu.product} works with ${gpu.modules} kernel modules only, not with ${flavour} ones`;
    return [refuse(message, [gpu, gpu.architecture], [{ kind: 'modules' }, element])];
  });
}

function modulesDriver({ driver }: Candidate, problem: Problem): Judgement[] {
  const { version, flavour, branch } = driver ?? {};
  if (version === undefined || flavour === undefined) return [];
  if (branch !== undefined && !branch.flavours.includes(flavour)) {
    const message = `R${branch.branch} has ${branch.flavours.join(' and ')} kernel modules, no ${flavour} ones`;
    return [refuse(message, [branch], [{ kind: 'modules' }, { kind: 'driver-version' }])];
  }
  return problem.index.facts.nvidia.moduleRules.flatMap((rule) => {
    const speaks = rule.driver !== undefined && rangeAdmits(rule.driver, version) && !rule.isDefault;
    if (!speaks || rule.addon !== undefined || rule.then === flavour) return [];
    // A rule over a mix speaks of hosts that have it.
    if (rule.mixes !== undefined && !hasMix(rule.mixes, problem.nvidia)) return [];
    return [refuse(rule.message, [rule], [{ kind: 'modules' }, { kind: 'driver-version' }])];
  });
}

function hasMix(mixes: readonly ModuleChoice[], nvidia: readonly AskedGpu[]): boolean {
  return mixes.every((choice) => nvidia.some(({ gpu }) => gpu.vendor === 'nvidia' && gpu.modules === choice));
}

function modulesAddon({ driver }: Candidate, problem: Problem): Judgement[] {
  const flavour = driver?.flavour;
  if (flavour === undefined) return [];
  return problem.index.facts.nvidia.moduleRules.flatMap((rule) => {
    const { addon } = rule;
    if (addon === undefined || rule.then === flavour || !reaches(rule, driver?.version)) return [];
    const index = problem.request.addons.indexOf(addon.name);
    if (index < 0) return [];
    const versions = (problem.context.offers?.addons ?? [])
      .flatMap(({ layer, version }) => (layer === addon.name && version !== undefined ? [version] : []))
      .filter(isSoftwareVersion);
    // Without a version to go by it is the newest that would be taken.
    if (versions.length > 0 && !versions.every((version) => rangeAdmits(addon.versions, version))) return [];
    return [refuse(rule.message, [rule], [{ kind: 'addon', index }, { kind: 'modules' }])];
  });
}

function reaches(rule: ModuleRule, version: Parameters<typeof branchOf>[0] | undefined): boolean {
  return rule.driver === undefined || (version !== undefined && rangeAdmits(rule.driver, version));
}

function oneVersion({ driver }: Candidate): Judgement[] {
  const { version, offer } = driver ?? {};
  if (version === undefined) return [];
  return Object.entries(offer?.parts ?? {}).flatMap(([part, own]) =>
    compareVersions(own, version) === 0
      ? []
      : [
          refuse(
            `the driver is ${version} and its ${part} ${own}; all parts must be one version`,
            [],
            [{ kind: 'driver-version' }],
          ),
        ],
  );
}

function endOfLife({ driver }: Candidate, { context: { now } }: Problem): Judgement[] {
  const { version, branch } = driver ?? {};
  if (version === undefined || branch === undefined || isEligible(branch, now)) return [];
  const about = [{ kind: 'driver-version' } as const, { kind: 'driver' } as const];
  if (supportTier(branch, now) === 'preview')
    return [warn(`R${branch.branch} is a preview, not meant for production`, [branch], about)];
  const since = branch.endOfLife === undefined ? '' : ` since ${branch.endOfLife}`;
  return [
    warn(
      `R${branch.branch} is past its end of life${since}: NVIDIA mends nothing in it any more`,
      [branch],
      about,
    ),
  ];
}

function driverKnown({ driver }: Candidate, problem: Problem): Judgement[] {
  const { version, branch, flavour } = driver ?? {};
  if (version === undefined) return [];
  const about = [{ kind: 'driver-version' } as const];
  if (branch === undefined) {
    return [
      warn(
        `nothing is known of the driver branch R${branchOf(version)}, so little of ${version} could be checked`,
        [],
        about,
      ),
    ];
  }
  const judgements: Judgement[] = [];
  if (supportTier(branch, problem.context.now) === 'unstated') {
    judgements.push(note(`whether NVIDIA supports R${branch.branch} is not stated`, [branch], about));
  }
  if (!problem.index.facts.nvidia.releases.has(version)) {
    judgements.push(
      note(`nothing is known of ${version} itself: it is judged by its branch`, [branch], about),
    );
  }
  if (flavour !== undefined && flavour === defaultFlavour(version, problem)) {
    judgements.push(
      note(
        `${flavour} kernel modules are what NVIDIA installs by default with R${branch.branch}`,
        [branch],
        [{ kind: 'modules' }],
      ),
    );
  }
  return judgements;
}
