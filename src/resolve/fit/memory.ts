/**
 * Answers that hold as long as facts, offers and date are the same: a refusal asks for them many times over. Offers
 * are made for one value of facts.
 */
import type { FitContext } from './request.ts';

export class Memory<T> {
  readonly #answers = new WeakMap<object, Map<string, T>>();

  /** @param question everything else that the answer depends on */
  recall({ facts, offers, now }: FitContext, question: unknown, answer: () => T): T {
    const ground = offers ?? facts;
    const answers = this.#answers.get(ground) ?? new Map<string, T>();
    this.#answers.set(ground, answers);
    const key = JSON.stringify([now, question]);
    const known = answers.get(key);
    if (known !== undefined) return known;
    const made = answer();
    answers.set(key, made);
    return made;
  }
}
