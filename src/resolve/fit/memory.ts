/** Answers that hold as long as facts, offers and date are the same: a refusal asks for them many times over. */
import type { FitContext } from './request.ts';

export class Memory<T> {
  readonly #answers = new WeakMap<FitContext, Map<string, T>>();

  /** @param question everything else that the answer depends on */
  recall(context: FitContext, question: unknown, answer: () => T): T {
    const answers = this.#answers.get(context) ?? new Map<string, T>();
    this.#answers.set(context, answers);
    const key = JSON.stringify(question);
    const known = answers.get(key);
    if (known !== undefined) return known;
    const made = answer();
    answers.set(key, made);
    return made;
  }
}
