/** What is pulled, as a picture: areas are bytes, two levels deep. Drawn here, so that a page needs no script. */
import { formatBytes } from '../../report/format.ts';
import { printableName } from '../../report/printable.ts';
import { escapeHtml } from '../html-page.ts';
import { squarify, type Rectangle } from './treemap.ts';

export interface TreemapCell {
  readonly name: string;
  readonly bytes: number;
  /** Of these, bytes that are new; the rest comes along since it is packed with them. */
  readonly fresh: number;
}

export interface TreemapGroup {
  readonly name: string;
  readonly bytes: number;
  readonly cells: readonly TreemapCell[];
}

const WIDTH = 1200;
const HEIGHT = 640;
/** Height of a group's heading. */
const HEAD = 22;
const MAX_CELLS = 60;
/** Below this neither a border nor a name can be told. */
const MIN_SIDE = 3;
/** Width of a letter in the 12 pixel face, and of a bold one, on the generous side. */
const LETTER = 6.9;
const BOLD_LETTER = 8;

export const TREEMAP_STYLE = `
:root { --fresh: #2f6fd0; --fresh-ink: #ffffff; --mixed: #9dbdf0; --mixed-ink: #10294f; --along: #e3e8ef; --along-ink: #39424f; --gap: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --fresh: #4d8df0; --fresh-ink: #06101f; --mixed: #2b4a7c; --mixed-ink: #dce9ff; --along: #272d37; --along-ink: #b9c2cf; --gap: #14161a; } }
svg.map { width: 100%; height: auto; display: block; border: 1px solid var(--line); border-radius: .5rem; background: var(--head); }
svg.map rect { stroke: var(--gap); stroke-width: 1.5; }
svg.map .group { fill: var(--head); stroke: var(--line); }
svg.map .fresh { fill: var(--fresh); } svg.map .mixed { fill: var(--mixed); } svg.map .along { fill: var(--along); }
svg.map text { font: 12px system-ui, sans-serif; pointer-events: none; }
svg.map text.fresh { fill: var(--fresh-ink); } svg.map text.mixed { fill: var(--mixed-ink); } svg.map text.along { fill: var(--along-ink); }
svg.map text.head { fill: var(--ink); font-weight: 600; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0 0; padding: 0; list-style: none; font-size: .875rem; }
.key span { display: inline-block; width: .9em; height: .9em; margin-right: .4em; border-radius: 2px; vertical-align: -.1em; border: 1px solid var(--line); }
.key .fresh { background: var(--fresh); } .key .mixed { background: var(--mixed); } .key .along { background: var(--along); }
`;

/** @param title and `description` are what somebody hears who does not see the picture */
export function renderTreemap(
  groups: readonly TreemapGroup[],
  { title, description }: { readonly title: string; readonly description: string },
): string {
  const sorted = [...groups].sort((left, right) => right.bytes - left.bytes);
  const places = squarify(
    sorted.map(({ bytes }) => bytes),
    { x: 0, y: 0, width: WIDTH, height: HEIGHT },
  );
  const drawn = sorted.map((group, index) => renderGroup(group, places[index]));
  return `<svg class="map" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="map-title map-description">
<title id="map-title">${escapeHtml(title)}</title>
<desc id="map-description">${escapeHtml(description)}</desc>
${drawn.join('\n')}
</svg>`;
}

function renderGroup(group: TreemapGroup, place: Rectangle | undefined): string {
  if (place === undefined || Math.min(place.width, place.height) < 1) return '';
  const label = `${printableName(group.name)}: ${formatBytes(group.bytes)}`;
  const isLarge = place.height > HEAD * 2 && place.width > 48;
  const inner: Rectangle = isLarge
    ? { x: place.x + 3, y: place.y + HEAD, width: place.width - 6, height: place.height - HEAD - 3 }
    : place;
  const cells = fewer(group.cells);
  const placed = squarify(
    cells.map(({ bytes }) => bytes),
    inner,
  );
  const room = place.width - 14;
  const heading = fits(label, room, BOLD_LETTER) ? label : fit(printableName(group.name), room, BOLD_LETTER);
  const head = isLarge ? textAt(place.x + 7, place.y + 15, heading, 'head') : '';
  return `<g>
<rect class="group" ${sides(place)}><title>${escapeHtml(label)}</title></rect>${head}
${cells.map((cell, index) => renderCell(cell, group.name, placed[index])).join('')}
</g>`;
}

function renderCell(cell: TreemapCell, group: string, place: Rectangle | undefined): string {
  if (place === undefined || Math.min(place.width, place.height) < MIN_SIDE) return '';
  const share = cell.bytes === 0 ? 0 : cell.fresh / cell.bytes;
  const kind = share > 0.5 ? 'fresh' : share > 0.005 ? 'mixed' : 'along';
  const name = printableName(cell.name);
  const tip = `${printableName(group)}, ${name}: ${formatBytes(cell.bytes)}, ${formatBytes(cell.fresh)} of it new`;
  const isNamed = place.height >= 20 && place.width >= 30;
  const lines = isNamed ? [fit(name, place.width - 10)] : [];
  const size = formatBytes(cell.bytes);
  if (isNamed && place.height >= 36 && fits(size, place.width - 10)) lines.push(size);
  const texts = lines.map((line, index) => textAt(place.x + 5, place.y + 15 + index * 15, line, kind));
  return `<g><rect class="${kind}" ${sides(place)}><title>${escapeHtml(tip)}</title></rect>${texts.join('')}</g>\n`;
}

/** The largest, and one for all the others. */
function fewer(cells: readonly TreemapCell[]): readonly TreemapCell[] {
  const sorted = [...cells].sort((left, right) => right.bytes - left.bytes);
  if (sorted.length <= MAX_CELLS) return sorted;
  const rest = sorted.slice(MAX_CELLS);
  const other = {
    name: `${rest.length} others`,
    bytes: rest.reduce((sum, { bytes }) => sum + bytes, 0),
    fresh: rest.reduce((sum, { fresh }) => sum + fresh, 0),
  };
  return [...sorted.slice(0, MAX_CELLS), other];
}

function sides({ x, y, width, height }: Rectangle): string {
  return `x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${width.toFixed(1)}" height="${height.toFixed(1)}"`;
}

function textAt(x: number, y: number, text: string, kind: string): string {
  return text === ''
    ? ''
    : `<text class="${kind}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" aria-hidden="true">${escapeHtml(text)}</text>`;
}

function fits(text: string, width: number, letter = LETTER): boolean {
  return text.length <= Math.floor(width / letter);
}

/** As much of a text as there is room for; of a path its end, which tells more than where it begins. */
function fit(text: string, width: number, letter = LETTER): string {
  const room = Math.floor(width / letter);
  if (fits(text, width, letter)) return text;
  if (room < 4) return '';
  return text.startsWith('/') ? `…${text.slice(1 - room)}` : `${text.slice(0, room - 1)}…`;
}
