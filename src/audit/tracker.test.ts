/** What Debian's tracker says, as it said it: an excerpt that was recorded. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { advisoriesOf } from './tracker.ts';

const file = join(import.meta.dirname, '../../test/support/advisories/tracker-recorded.json');
const recorded = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, unknown>>;

/** Of each issue: its urgency, and the versions that have it. */
function told(source: string, release: string): readonly string[] {
  return advisoriesOf(source, recorded[source], release).map(({ id, urgency, affected }) => {
    const ranges =
      affected.kind === 'ranges'
        ? affected.ranges.map(({ introduced, fixed = '' }) => `[${introduced},${fixed})`).join()
        : affected.kind;
    return `${id} ${urgency} ${ranges}`;
  });
}

test.each<[string, string, readonly string[]]>([
  ['backupninja', 'buster', ['CVE-2005-3111 medium [0,0.8-2)']],
  ['chromium', 'bullseye', ['CVE-2022-0456 not yet assigned [0,98.0.4758.80-1~deb11u1)']],
  // Mended in sid alone: the release has it to its end.
  ['chromium', 'buster', ['CVE-2022-0456 end-of-life [0,98.0.4758.80-1)']],
  ['chromium', 'trixie', []],
  ['chromium-browser', 'bookworm', []],
  ['txt2man', 'sid', ['CVE-2013-1444 low [0,1.5.5-4.1)']],
  // No version ever had the first one.
  ['prototypejs', 'sid', ['CVE-2007-2383 unimportant ', 'CVE-2008-7220 high [0,1.6.0.2-1)']],
])('%s in %s', (source, release, expected) => {
  expect(told(source, release)).toEqual(expected);
});
