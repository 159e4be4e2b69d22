/**
 * The field `License` of rpm packages. Fedora and its kin write SPDX expressions there; what older packages write, such
 * as `GPLv2+ and BSD`, names no text for certain, so nothing is claimed of it. Pure.
 */
import { isSupportedSpdxId } from '@cyclonedx/cyclonedx-library/SPDX';

import type { Licence } from './copyright.ts';

const REFERENCE = /^LicenseRef-[A-Za-z0-9.-]+$/;
/** Of SPDX's list, those that distributions have. */
const EXCEPTIONS: ReadonlySet<string> = new Set([
  ...['Autoconf-exception-2.0', 'Autoconf-exception-3.0', 'Bison-exception-1.24', 'Bison-exception-2.2'],
  ...['Classpath-exception-2.0', 'Font-exception-2.0', 'GCC-exception-2.0', 'GCC-exception-3.1'],
  ...['Libtool-exception', 'Linux-syscall-note', 'LLVM-exception', 'OCaml-LGPL-linking-exception'],
  ...['Qt-GPL-exception-1.0', 'Texinfo-exception', 'u-boot-exception-2.0', 'wxWindows-exception-3.1'],
]);

/** @returns undefined for what is no expression of SPDX */
export function parseRpmLicence(field: string): Licence | undefined {
  const tokens = field.match(/[()]|[^\s()]+/g) ?? [];
  const reader = new ExpressionReader(tokens);
  if (!reader.expression() || !reader.isAtEnd) return undefined;
  const own = [...new Set(tokens.filter((token) => REFERENCE.test(token)))];
  return {
    expression: tokens.join(' ').replaceAll('( ', '(').replaceAll(' )', ')'),
    custom: own.map((id) => ({ id, name: id.slice('LicenseRef-'.length), text: undefined })),
  };
}

/** SPDX 2.3, annex D: `expression` moves past one, and says whether it is one. */
class ExpressionReader {
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#tokens.length;
  }

  expression(): boolean {
    do {
      if (!this.#term()) return false;
    } while (this.#take((token) => token === 'AND' || token === 'OR'));
    return true;
  }

  #term(): boolean {
    if (this.#take((token) => token === '('))
      return this.expression() && this.#take((token) => token === ')');
    const isId = this.#take((token) => REFERENCE.test(token) || isSupportedSpdxId(token.replace(/\+$/, '')));
    if (!isId) return false;
    return !this.#take((token) => token === 'WITH') || this.#take((token) => EXCEPTIONS.has(token));
  }

  #take(matches: (token: string) => boolean): boolean {
    const token = this.#tokens[this.#at];
    if (token === undefined || !matches(token)) return false;
    this.#at += 1;
    return true;
  }
}
