/**
 * Licence expressions of Debian's copyright files, as SPDX expressions. `and` binds tighter than `or`, and a comma before
 * either looser than both: `A or B, and C` is `(A or B) and C` (copyright-format 1.0, section 7.2).
 */

export type Expression =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'and' | 'or'; readonly parts: readonly Expression[] };

/** From the loosest to the tightest. */
const OPERATORS = [
  { kind: 'or', pattern: /\s*,\s*or\s+/i },
  { kind: 'and', pattern: /\s*,\s*and\s+/i },
  { kind: 'or', pattern: /\s+or\s+/i },
  { kind: 'and', pattern: /\s+and\s+/i },
] as const;

/** One word, or one with an exception: `GPL-2+ with OpenSSL exception`. */
const NAME = /^[^\s,]+(?: with [^,]+ exception)?$/i;

/** @returns undefined for what is no expression, such as `GPL-2 and/or the file's own` */
export function parseLicenceExpression(text: string): Expression | undefined {
  return parseFrom(text.replaceAll(/\s+/g, ' ').trim(), 0);
}

function parseFrom(text: string, level: number): Expression | undefined {
  const operator = OPERATORS[level];
  if (operator === undefined) return NAME.test(text) ? { kind: 'name', name: text } : undefined;
  const parts = text.split(operator.pattern).map((part) => parseFrom(part, level + 1));
  if (!parts.every((part) => part !== undefined)) return undefined;
  return join(operator.kind, parts);
}

/** All of them, or one of them; of one, that one. What is said twice is said once. */
export function join(kind: 'and' | 'or', parts: readonly Expression[]): Expression {
  const flat = parts.flatMap((part) => (part.kind === kind ? part.parts : [part]));
  const once = [...new Map(flat.map((part) => [JSON.stringify(part), part])).values()];
  const [first, ...more] = once;
  if (first === undefined) throw new TypeError('an expression of nothing');
  return more.length === 0 ? first : { kind, parts: once };
}

/** As SPDX writes it; `nameOf` gives the identifier of each name. */
export function renderExpression(expression: Expression, nameOf: (name: string) => string): string {
  if (expression.kind === 'name') return nameOf(expression.name);
  const { kind, parts } = expression;
  const texts = parts.map((part) => {
    const text = renderExpression(part, nameOf);
    // In SPDX, too, AND binds tighter.
    return part.kind === 'or' && kind === 'and' ? `(${text})` : text;
  });
  return [...new Set(texts)].join(kind === 'and' ? ' AND ' : ' OR ');
}
