/**
 * What a layer requires, in the words of the solver: `driver >= 525`, `cuda: 12.x`, `modules: open | proprietary`.
 *
 *   constraint = subject ( bound { "," bound } | ":" choice { "|" choice } )
 *   bound      = ( "<" | "<=" | "=" | ">=" | ">" ) ( version | subject )
 *   choice     = version [ ".x" ] | word
 *
 * A version subject is compared number by number; `12.x` is every 12 there is, `12.4` only 12.4 itself. A word
 * subject takes the `:` form alone. On the right of a bound a subject stands for its value: `version = driver`.
 */

/** Subjects whose values are versions. `version` is the layer's own. */
export const VERSION_SUBJECTS = [
  'driver',
  'cuda',
  'kernel',
  'computeCapability',
  'containerToolkit',
  'version',
] as const;
export type VersionSubject = (typeof VERSION_SUBJECTS)[number];

/** Subjects whose values are words: the GPU's vendor and architecture, the driver's module flavour, the node's CPU. */
export const WORD_SUBJECTS = ['vendor', 'gpuArchitecture', 'modules', 'architecture'] as const;
export type WordSubject = (typeof WORD_SUBJECTS)[number];

export type Relation = '<' | '<=' | '=' | '>=' | '>';

export interface Bound {
  readonly relation: Relation;
  /** Another subject's value in place of a version. */
  readonly operand: { readonly version: string } | { readonly subject: VersionSubject };
}

export interface VersionChoice {
  readonly version: string;
  /** True for every version that begins with this one: `12.x`. */
  readonly series: boolean;
}

export type Constraint =
  /** All bounds hold. */
  | {
      readonly kind: 'bounds';
      readonly subject: VersionSubject;
      readonly bounds: readonly Bound[];
      readonly text: string;
    }
  /** One of the versions. */
  | {
      readonly kind: 'versions';
      readonly subject: VersionSubject;
      readonly choices: readonly VersionChoice[];
      readonly text: string;
    }
  /** One of the words. */
  | {
      readonly kind: 'words';
      readonly subject: WordSubject;
      readonly words: readonly string[];
      readonly text: string;
    };

/** Why a text is no constraint, and where in it. */
export class ConstraintError extends Error {
  override readonly name = 'ConstraintError';
  /** Of the first character that cannot be, counted from 0. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** @throws ConstraintError */
export function parseConstraint(text: string): Constraint {
  return new ConstraintParser(text).parse();
}

const VERSION = /\d+(?:\.\d+)*/y;
const WORD = /[A-Za-z][\w-]*/y;
const RELATION = /<=|>=|<|>|=/y;

class ConstraintParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Constraint {
    const start = this.#skipSpace();
    const subject = this.#take(WORD);
    if (subject === undefined) throw new ConstraintError(`must begin with ${SUBJECTS}`, start);
    const constraint = isVersionSubject(subject)
      ? this.#versions(subject)
      : isWordSubject(subject)
        ? this.#words(subject)
        : undefined;
    if (constraint === undefined) {
      throw new ConstraintError(`speaks of "${subject}", which is none of ${SUBJECTS}`, start);
    }
    const end = this.#skipSpace();
    if (end < this.#text.length) throw new ConstraintError(`goes on after its end: "${this.#rest()}"`, end);
    return constraint;
  }

  #versions(subject: VersionSubject): Constraint {
    if (!this.#takeText(':'))
      return { kind: 'bounds', subject, bounds: this.#bounds(), text: this.#text.trim() };
    const choices = this.#list('|', () => {
      const version = this.#version();
      return { version, series: this.#takeAdjacent('.x') };
    });
    return { kind: 'versions', subject, choices, text: this.#text.trim() };
  }

  #bounds(): Bound[] {
    return this.#list(',', () => {
      const at = this.#skipSpace();
      const relation = this.#take(RELATION) as Relation | undefined;
      if (relation === undefined) throw new ConstraintError('needs <, <=, =, >=, > or : here', at);
      const before = this.#skipSpace();
      const word = this.#take(WORD);
      if (word === undefined) return { relation, operand: { version: this.#version() } };
      if (!isVersionSubject(word)) throw new ConstraintError(`cannot compare with "${word}"`, before);
      return { relation, operand: { subject: word } };
    });
  }

  #words(subject: WordSubject): Constraint {
    const at = this.#skipSpace();
    if (!this.#takeText(':')) throw new ConstraintError(`needs : after ${subject}`, at);
    const words = this.#list('|', () => {
      const before = this.#skipSpace();
      const word = this.#take(WORD);
      if (word === undefined) throw new ConstraintError('needs a word here', before);
      return word;
    });
    return { kind: 'words', subject, words, text: this.#text.trim() };
  }

  #version(): string {
    const at = this.#skipSpace();
    const version = this.#take(VERSION);
    if (version === undefined) throw new ConstraintError('needs a version here, such as 12.4', at);
    return version;
  }

  #list<T>(separator: string, item: () => T): T[] {
    const items = [item()];
    while (this.#takeText(separator)) items.push(item());
    return items;
  }

  #take(pattern: RegExp): string | undefined {
    this.#skipSpace();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  #takeText(text: string): boolean {
    this.#skipSpace();
    return this.#takeAdjacent(text);
  }

  #takeAdjacent(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #skipSpace(): number {
    while (this.#text[this.#at] === ' ') this.#at += 1;
    return this.#at;
  }

  #rest(): string {
    return this.#text.slice(this.#at);
  }
}

const SUBJECTS = [...VERSION_SUBJECTS, ...WORD_SUBJECTS].join(', ');

function isVersionSubject(word: string): word is VersionSubject {
  return (VERSION_SUBJECTS as readonly string[]).includes(word);
}

function isWordSubject(word: string): word is WordSubject {
  return (WORD_SUBJECTS as readonly string[]).includes(word);
}

/** Dotted numbers, number by number; what is longer is newer: 12.4 < 12.4.1 < 12.10. */
export function compareDotted(left: string, right: string): number {
  const [a, b] = [left.split('.').map(Number), right.split('.').map(Number)];
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const order = (a[index] ?? -1) - (b[index] ?? -1);
    if (order !== 0) return order;
  }
  return 0;
}

/** Whether a dotted version is this one or begins with it, number by number: 12.4.1 begins with 12.4 and 12. */
export function beginsWith(version: string, start: string): boolean {
  return version === start || version.startsWith(`${start}.`);
}

/** `other` gives the value of a subject on the right of a bound; a bound on an unknown value does not hold. */
export function admitsVersion(
  constraint: Extract<Constraint, { kind: 'bounds' | 'versions' }>,
  version: string,
  other: (subject: VersionSubject) => string | undefined = () => undefined,
): boolean {
  if (constraint.kind === 'versions') {
    return constraint.choices.some((choice) =>
      choice.series ? beginsWith(version, choice.version) : compareDotted(version, choice.version) === 0,
    );
  }
  return constraint.bounds.every(({ relation, operand }) => {
    const bound = 'version' in operand ? operand.version : other(operand.subject);
    return bound !== undefined && holds(compareDotted(version, bound), relation);
  });
}

function holds(order: number, relation: Relation): boolean {
  switch (relation) {
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '=':
      return order === 0;
    case '>=':
      return order >= 0;
    case '>':
      return order > 0;
  }
}
