/** Users and groups that came, went or changed: passwd(5), group(5). Pure. */
import type { Account } from './image-summary.ts';

export interface AccountDifference {
  readonly added: readonly Account[];
  readonly removed: readonly Account[];
  readonly changed: readonly { readonly from: Account; readonly to: Account }[];
}

/** Lines of either file: the name first, the number third; the password field says nothing here. */
export function parseAccounts(text: string): Account[] {
  return text.split('\n').flatMap((line): Account[] => {
    const [name, , id, ...rest] = line.split(':');
    if (name === undefined || name === '' || id === undefined || !/^\d+$/.test(id)) return [];
    return [{ name, id: Number(id), rest: rest.join(':') }];
  });
}

export function compareAccounts(before: readonly Account[], after: readonly Account[]): AccountDifference {
  const old = new Map(before.map((account) => [account.name, account]));
  const fresh = new Map(after.map((account) => [account.name, account]));
  return {
    added: after.filter(({ name }) => !old.has(name)),
    removed: before.filter(({ name }) => !fresh.has(name)),
    changed: after.flatMap((to) => {
      const from = old.get(to.name);
      return from === undefined || (from.id === to.id && from.rest === to.rest) ? [] : [{ from, to }];
    }),
  };
}
