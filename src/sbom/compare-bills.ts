/** What came, went and changed from one bill to another. Pure. */
import type { Bill, Component } from './bill.ts';

export interface ChangedComponent {
  readonly id: string;
  readonly kind: Component['kind'];
  readonly name: string;
  /** Fields that both bills know and that differ. */
  readonly changes: readonly { readonly field: ComparedField; readonly from: string; readonly to: string }[];
}

export type ComparedField = 'version' | 'sha256' | 'licence' | 'supplier' | 'source' | 'layer';

export interface BillDifference {
  readonly added: readonly Component[];
  readonly removed: readonly Component[];
  readonly changed: readonly ChangedComponent[];
}

/** What only one of them can tell (an image knows licences, a lock does not) is no difference. */
export function compareBills(before: Bill, after: Bill): BillDifference {
  const old = new Map(before.components.map((one) => [one.id, one]));
  const fresh = new Map(after.components.map((one) => [one.id, one]));
  return {
    added: after.components.filter(({ id }) => !old.has(id)),
    removed: before.components.filter(({ id }) => !fresh.has(id)),
    changed: after.components.flatMap((to): ChangedComponent[] => {
      const from = old.get(to.id);
      if (from === undefined) return [];
      const [one, other] = [fieldsOf(from), fieldsOf(to)];
      const changes = [...other].flatMap(([field, value]) => {
        const was = one.get(field);
        return was === undefined || was === value ? [] : [{ field, from: was, to: value }];
      });
      return changes.length === 0 ? [] : [{ id: to.id, kind: to.kind, name: to.name, changes }];
    }),
  };
}

function fieldsOf({
  version,
  sha256,
  licence,
  supplier,
  source,
  layer,
}: Component): Map<ComparedField, string> {
  const fields: readonly (readonly [ComparedField, string | undefined])[] = [
    ['version', version],
    ['sha256', sha256],
    ['licence', licence?.expression],
    ['supplier', supplier?.name],
    ['source', source?.name],
    ['layer', layer],
  ];
  return new Map(fields.flatMap(([field, value]) => (value === undefined ? [] : [[field, value] as const])));
}
