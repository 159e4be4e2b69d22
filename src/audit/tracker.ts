/**
 * The JSON export of Debian's security tracker (https://security-tracker.debian.org/tracker/data/json): source package →
 * issue → release → state. Pure.
 */
import * as z from 'zod';

import { type Advisory, type AffectedVersions, parseUrgency } from './advisory.ts';

const Release = z.object({
  status: z.string(),
  fixed_version: z.string().optional(),
  urgency: z.string().optional(),
  nodsa_reason: z.string().nullish(),
});
const Issue = z.object({
  description: z.string().optional(),
  // Written as a list where there are none.
  releases: z.preprocess(
    (value) => (Array.isArray(value) && value.length === 0 ? {} : value),
    z.record(z.string(), Release),
  ),
});
/** One source package's member of the export. */
export const TrackerPackage = z.record(z.string(), Issue);

/** @throws z.ZodError for what is no member of such an export */
export function advisoriesOf(source: string, value: unknown, release: string): readonly Advisory[] {
  return Object.entries(TrackerPackage.parse(value)).flatMap(
    ([id, { description, releases }]): Advisory[] => {
      const state = releases[release];
      if (state === undefined) return [];
      const fixedInSid = state.status === 'open' ? fixedVersion(releases['sid']) : undefined;
      return [
        {
          id,
          source,
          urgency: parseUrgency(state.urgency),
          affected: affectedBy(state, fixedInSid),
          ...(fixedInSid !== undefined && { fixedInSid }),
          ...(Boolean(state.nodsa_reason) && { postponed: state.nodsa_reason ?? '' }),
          ...(description !== undefined && { summary: description }),
        },
      ];
    },
  );
}

function affectedBy(state: z.infer<typeof Release>, fixedInSid: string | undefined): AffectedVersions {
  const introduced = '0';
  const versions = new Set<string>();
  switch (state.status) {
    case 'resolved': {
      // `0` stands for: no version of this release ever had it.
      const fixed = state.fixed_version ?? '0';
      return { kind: 'ranges', versions, ranges: fixed === '0' ? [] : [{ introduced, fixed }] };
    }
    case 'open':
      // The release's own versions have it; a newer one, as of backports, is judged by unstable.
      return { kind: 'ranges', versions, ranges: [{ introduced, fixed: fixedInSid }] };
    default:
      return { kind: 'undetermined' };
  }
}

function fixedVersion(state: z.infer<typeof Release> | undefined): string | undefined {
  if (state?.status !== 'resolved' || state.fixed_version === '0') return undefined;
  return state.fixed_version;
}
