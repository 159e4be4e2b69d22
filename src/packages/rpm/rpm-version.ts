/** The order of rpm's versions: `epoch:version-release`, as rpm's rpmvercmp has it. Pure. */

/** Negative when `left` is older than `right`, 0 when they are the same. */
export function compareRpmVersions(left: string, right: string): number {
  const [one, other] = [partsOf(left), partsOf(right)];
  return (
    one.epoch - other.epoch ||
    comparePart(one.version, other.version) ||
    comparePart(one.release, other.release)
  );
}

function partsOf(text: string): {
  readonly epoch: number;
  readonly version: string;
  readonly release: string;
} {
  const [, epoch = '0', version = '', release = ''] = /^(?:(\d+):)?([^-]*)(?:-(.*))?$/.exec(text) ?? [];
  return { epoch: Number(epoch), version, release };
}

/** Runs of digits and of letters; `~` is older than nothing, `^` newer than nothing and older than anything else. */
function comparePart(left: string, right: string): number {
  const [ours, theirs] = [segmentsOf(left), segmentsOf(right)];
  for (let index = 0; index < Math.max(ours.length, theirs.length); index += 1) {
    const order = compareSegment(ours[index], theirs[index]);
    if (order !== 0) return order;
  }
  return 0;
}

function segmentsOf(text: string): string[] {
  return text.match(/\d+|[A-Za-z]+|~|\^/g) ?? [];
}

function compareSegment(left: string | undefined, right: string | undefined): number {
  if (left === right) return 0;
  if (left === '~') return -1;
  if (right === '~') return 1;
  if (left === undefined) return -1;
  if (right === undefined) return 1;
  if (left === '^') return -1;
  if (right === '^') return 1;
  const [isNumber, isOtherNumber] = [/^\d/.test(left), /^\d/.test(right)];
  if (isNumber !== isOtherNumber) return isNumber ? 1 : -1;
  if (!isNumber) return left < right ? -1 : 1;
  const [number, other] = [left.replace(/^0+/, ''), right.replace(/^0+/, '')];
  return number.length - other.length || (number < other ? -1 : number > other ? 1 : 0);
}
