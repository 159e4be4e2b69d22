/** What is known of a vulnerability in a source package of one release, whoever says it. */

/** As Debian's security tracker rates them; the last two are no ratings. */
export const URGENCIES = ['high', 'medium', 'low', 'unimportant', 'not yet assigned', 'end-of-life'] as const;
export type Urgency = (typeof URGENCIES)[number];

export interface Advisory {
  /** `CVE-2024-6387`, or what the data calls it where it has no such name. */
  readonly id: string;
  /** Name of the source package. */
  readonly source: string;
  readonly urgency: Urgency;
  /** Versions that have it. */
  readonly affected: AffectedVersions;
  /** Where the release's own version does not mend it: the version of unstable that does. */
  readonly fixedInSid?: string | undefined;
  /** Why the release gets no update of its own, in the tracker's words: `ignored`, `postponed`. */
  readonly postponed?: string | undefined;
  readonly summary?: string | undefined;
}

export type AffectedVersions =
  /** Nobody has looked yet. */
  | { readonly kind: 'undetermined' }
  | {
      readonly kind: 'ranges';
      /** From `introduced` on (`0`: from the first), up to before `fixed` or up to `last`; without both, all. */
      readonly ranges: readonly {
        readonly introduced: string;
        readonly fixed?: string | undefined;
        readonly last?: string | undefined;
      }[];
      /** Besides those in a range. */
      readonly versions: ReadonlySet<string>;
    };

/** The tracker's stars tell that a rating came from another place. */
export function parseUrgency(text: string | undefined): Urgency {
  const plain = text?.replaceAll('*', '').trim();
  return URGENCIES.find((one) => one === plain) ?? 'not yet assigned';
}
