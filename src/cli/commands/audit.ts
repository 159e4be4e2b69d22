/** `ingot audit`: which known vulnerabilities an image has, and whether the next one mends them. */
import { Command, Option } from 'commander';

import {
  audit as auditBill,
  auditedSources,
  compareAudits,
  reaches,
  type Threshold,
  THRESHOLDS,
} from '../../audit/audit.ts';
import { type DebianRelease, debianReleaseOf } from '../../audit/debian-releases.ts';
import { IngotError } from '../../errors.ts';
import type { Bill } from '../../sbom/bill.ts';
import { type AdvisoryData, readAdvisories } from '../audit/read-advisories.ts';
import { renderAudit } from '../audit/render-audit.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, openRegistries, type RegistryOptions } from '../registry-options.ts';
import { gatherBill } from '../sbom/gather-bill.ts';
import { type StoreInUse, useStore } from '../use-store.ts';

interface AuditOptions extends RegistryOptions {
  readonly data: string;
  readonly against?: string;
  readonly failOn?: Threshold;
  readonly mendable?: true;
  readonly lock?: string;
}

/** Older data is said to be old: issues come every day. */
const OLD_DAYS = 7;
const DAY_MS = 24 * 60 * 60 * 1000;

export function auditCommand(bind: Bind): Command {
  const command = new Command('audit')
    .description(
      'Tell which known vulnerabilities an image has, which version mends each, and whether the next does.',
    )
    .argument(
      '<image>',
      'declaration, lock, or image: oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME], HOST/PATH:TAG',
    )
    .requiredOption(
      '--data <file-or-url>',
      'the JSON of security-tracker.debian.org, or an OSV export: ZIP, folder, JSON',
    )
    .option('--against <image>', 'the next image or lock: tell which it mends and which it brings')
    .addOption(
      new Option(
        '--fail-on <urgency>',
        'exit 1 when an issue of this urgency or a higher one is there',
      ).choices(THRESHOLDS),
    )
    .option('--mendable', 'only what a newer version in the release mends')
    .option('--lock <file>', 'the lock of an image, when it was not built on this machine');
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  curl -O https://security-tracker.debian.org/tracker/data/json
  ingot audit oci:build/debian-minimal --data json
  ingot audit images/debian-minimal.yaml --data json --mendable --fail-on any
  ingot audit old.lock.yaml --data debian-osv.zip --against images/debian-minimal.lock.yaml

Needs no network when the data is a file. Most issues of today are "not yet assigned": only --fail-on any counts them.
`,
    )
    .action(bind(audit));
}

async function audit(
  context: CommandContext,
  argument: string,
  options: AuditOptions,
): Promise<CommandResult> {
  await using inUse = await useStore(context);
  await using registries = await openRegistries(context, options);
  const gather = { registries, store: inUse.store, orLock: true };
  const { bill } = await gatherBill(context, argument, { ...gather, lock: options.lock });
  const release = releaseOf(bill, argument);
  const next = options.against === undefined ? undefined : await gatherBill(context, options.against, gather);
  if (next !== undefined && releaseOf(next.bill, next.shown).codename !== release.codename) {
    throw new IngotError('USAGE', `${next.shown} is of another release than ${argument}`, {
      hint: 'audit each by itself: what is open in one release says nothing of another',
    });
  }
  const data = await readData(context, inUse, options.data, release, [
    bill,
    ...(next === undefined ? [] : [next.bill]),
  ]);
  const whole = auditBill(bill, data.advisories);
  const findings = whole.findings.filter(({ fixed }) => options.mendable !== true || fixed !== undefined);
  const found = { ...whole, findings };
  const compared =
    next === undefined
      ? undefined
      : compareAudits(findings, next.bill, auditBill(next.bill, data.advisories));
  const { failOn } = options;
  const fails = failOn !== undefined && findings.some((one) => reaches(one, failOn));
  const age = Math.max(0, Math.floor((context.now().getTime() - Date.parse(data.from)) / DAY_MS));
  if (age > OLD_DAYS)
    context.reporter.warning(`${options.data} is ${age} days old: newer issues are not in it`);
  return {
    json: {
      subject: bill.subject,
      release: release.codename,
      data: { source: options.data, format: data.format, from: data.from },
      sources: found.sources,
      undetermined: found.undetermined,
      gaps: found.gaps,
      findings: findings.map((one, index) => ({
        ...one,
        ...(compared !== undefined && { next: compared.states[index] }),
      })),
      ...(next !== undefined && { next: next.bill.subject, added: compared?.added }),
    },
    text: renderAudit({ audit: found, data, age, release: release.codename, compared }, context.palette),
    exitCode: fails ? 1 : 0,
  };
}

async function readData(
  { cwd, reporter, signal }: CommandContext,
  { store }: StoreInUse,
  data: string,
  release: DebianRelease,
  bills: readonly Bill[],
): Promise<AdvisoryData> {
  await using scratch = await store.scratch('audit');
  const sources = new Set(bills.flatMap((bill) => auditedSources(bill).map(({ name }) => name)));
  return await reporter.stage('Read vulnerability data', (stage) =>
    readAdvisories({ data, cwd, sources, release, scratch: scratch.path, stage, signal }),
  );
}

/** @throws IngotError USAGE */
function releaseOf({ subject }: Bill, shown: string): DebianRelease {
  const release = debianReleaseOf(subject);
  if (release !== undefined) return release;
  throw new IngotError('USAGE', `${shown} is not of Debian: ${subject.base ?? 'it does not say of what'}`, {
    hint: 'there is data of Debian alone: for others, give the document of `ingot sbom` to a scanner of theirs',
  });
}
