/** Rectangles whose areas are numbers: squarified (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000). Pure. */

export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * One rectangle for each weight, in the same order, filling `space`. Weights that are not above zero get an empty one.
 * Rectangles are nearest to squares when the weights fall.
 */
export function squarify(weights: readonly number[], space: Rectangle): readonly Rectangle[] {
  const total = weights.reduce((sum, weight) => sum + Math.max(0, weight), 0);
  const scale = total === 0 ? 0 : (space.width * space.height) / total;
  const areas = weights.map((weight) => Math.max(0, weight) * scale);
  const placed: Rectangle[] = [];
  let rest = space;
  while (placed.length < areas.length) {
    const side = Math.min(rest.width, rest.height);
    const row = [areas[placed.length] ?? 0];
    for (let next = areas[placed.length + row.length]; next !== undefined;) {
      if (worst([...row, next], side) > worst(row, side)) break;
      row.push(next);
      next = areas[placed.length + row.length];
    }
    const [rectangles, left] = layOut(row, rest);
    placed.push(...rectangles);
    rest = left;
  }
  return placed;
}

/** The worst ratio of sides in a row along `side`. */
function worst(row: readonly number[], side: number): number {
  const sum = row.reduce((total, area) => total + area, 0);
  const [largest, smallest] = [Math.max(...row), Math.min(...row)];
  if (smallest === 0 || side === 0) return Number.POSITIVE_INFINITY;
  return Math.max((side * side * largest) / (sum * sum), (sum * sum) / (side * side * smallest));
}

/** A row along the shorter side, and the space that it leaves. */
function layOut(row: readonly number[], space: Rectangle): readonly [readonly Rectangle[], Rectangle] {
  const sum = row.reduce((total, area) => total + area, 0);
  const isColumn = space.width >= space.height;
  const side = isColumn ? space.height : space.width;
  const depth = side === 0 ? 0 : sum / side;
  let offset = 0;
  const rectangles = row.map((area) => {
    const length = depth === 0 ? 0 : area / depth;
    const rectangle = isColumn
      ? { x: space.x, y: space.y + offset, width: depth, height: length }
      : { x: space.x + offset, y: space.y, width: length, height: depth };
    offset += length;
    return rectangle;
  });
  const left = isColumn
    ? { ...space, x: space.x + depth, width: Math.max(0, space.width - depth) }
    : { ...space, y: space.y + depth, height: Math.max(0, space.height - depth) };
  return [rectangles, left];
}
