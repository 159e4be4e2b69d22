/** The components of a bill that somebody asks for. Pure. */
import type { Bill, Component } from './bill.ts';

/** Patterns with `*` for any text, compared without regard to case. Of several fields, all must hold. */
export interface BillQuery {
  /** Of the name, or of the source package's name. */
  readonly package?: string | undefined;
  /** Of any licence that the expression names. */
  readonly licence?: string | undefined;
  readonly layer?: string | undefined;
  /** Of the supplier's name or address. */
  readonly supplier?: string | undefined;
}

/** What a component is called that nothing certain is known of, for a query and on a screen. */
export const NO_LICENCE = 'NOASSERTION';

export function selectComponents(bill: Bill, query: BillQuery): readonly Component[] {
  const tests = [
    testOf(query.package, ({ name, source }) => [name, source?.name]),
    testOf(query.licence, licencesOf),
    testOf(query.layer, ({ layer }) => [layer]),
    testOf(query.supplier, ({ supplier }) => [supplier?.name, supplier?.email]),
  ];
  return bill.components.filter((component) => tests.every((test) => test(component)));
}

/** Every licence by itself: its SPDX identifier, or the name that the copyright file has for it. */
export function licencesOf({ licence }: Component): readonly string[] {
  if (licence === undefined) return [NO_LICENCE];
  const names = new Map(licence.custom.map(({ id, name }) => [id, name]));
  const ids = licence.expression.replaceAll(/[()]/g, ' ').split(/\s+(?:AND|OR)\s+/);
  return [...new Set(ids.map((id) => names.get(id.trim()) ?? id.trim()))];
}

function testOf(
  pattern: string | undefined,
  textsOf: (component: Component) => readonly (string | undefined)[],
): (component: Component) => boolean {
  if (pattern === undefined) return () => true;
  const expression = new RegExp(
    `^${pattern
      .split('*')
      .map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`))
      .join('.*')}$`,
    'i',
  );
  return (component) => textsOf(component).some((text) => text !== undefined && expression.test(text));
}
