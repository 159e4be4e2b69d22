/** Records of the Open Source Vulnerability format (https://ossf.github.io/osv-schema/), of the ecosystem Debian. Pure. */
import * as z from 'zod';

import { type Advisory, parseUrgency } from './advisory.ts';

const Event = z.object({
  introduced: z.string().optional(),
  fixed: z.string().optional(),
  last_affected: z.string().optional(),
});
const Affected = z.object({
  package: z.object({ ecosystem: z.string(), name: z.string() }).optional(),
  ranges: z.array(z.object({ type: z.string(), events: z.array(Event) })).optional(),
  versions: z.array(z.string()).optional(),
  ecosystem_specific: z.object({ urgency: z.string().optional() }).nullish(),
});
export const OsvRecord = z.object({
  id: z.string(),
  modified: z.string().optional(),
  withdrawn: z.string().optional(),
  aliases: z.array(z.string()).nullish(),
  upstream: z.array(z.string()).nullish(),
  related: z.array(z.string()).nullish(),
  summary: z.string().optional(),
  details: z.string().optional(),
  affected: z.array(Affected).nullish(),
});
export type OsvRecord = z.infer<typeof OsvRecord>;

/** @param release a number, such as `13`: this data knows no others */
export function advisoriesOfRecord(record: OsvRecord, release: string): readonly Advisory[] {
  if (record.withdrawn !== undefined) return [];
  const ecosystem = `Debian:${release}`;
  return (record.affected ?? []).flatMap((affected): Advisory[] => {
    if (affected.package?.ecosystem !== ecosystem) return [];
    const source = affected.package.name;
    const summary = record.summary ?? record.details?.split('\n', 1)[0];
    return idsOf(record).map((id) => ({
      id,
      source,
      urgency: parseUrgency(affected.ecosystem_specific?.urgency),
      affected: {
        kind: 'ranges',
        versions: new Set(affected.versions),
        ranges: (affected.ranges ?? []).filter(({ type }) => type === 'ECOSYSTEM').flatMap(rangesOf),
      },
      ...(summary !== undefined && { summary }),
    }));
  });
}

/** By the names that everybody uses; an advisory of Debian's (DSA) may be about several. */
function idsOf({ id, aliases, upstream, related }: OsvRecord): readonly string[] {
  const named = [id.replace(/^DEBIAN-/, ''), ...(aliases ?? []), ...(upstream ?? []), ...(related ?? [])];
  const cves = [...new Set(named.filter((one) => one.startsWith('CVE-')))];
  return cves.length === 0 ? [id] : cves;
}

function rangesOf({ events }: { readonly events: readonly z.infer<typeof Event>[] }): readonly {
  introduced: string;
  fixed?: string | undefined;
  last?: string | undefined;
}[] {
  const ranges: { introduced: string; fixed?: string | undefined; last?: string | undefined }[] = [];
  for (const { introduced, fixed, last_affected: last } of events) {
    if (introduced !== undefined) ranges.push({ introduced });
    const open = ranges.at(-1);
    if (open === undefined || (fixed === undefined && last === undefined)) continue;
    open.fixed = fixed;
    open.last = last;
  }
  return ranges;
}
