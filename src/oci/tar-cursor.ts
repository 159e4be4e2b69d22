/** A tar archive one entry at a time, for who asks instead of being told. Holds no more than a piece of the archive. */
import { TarParser, type TarMember } from './tar-parser.ts';

type Step = { readonly member: TarMember } | { readonly content: Buffer };

export class TarCursor implements AsyncDisposable {
  readonly #steps: AsyncGenerator<Step>;
  /** The entry after the content that was read to its end. */
  #ahead: TarMember | undefined;

  constructor(archive: AsyncIterable<Buffer>) {
    this.#steps = readSteps(archive);
  }

  /** The next entry; what was not read of the last one is passed over. */
  async next(): Promise<TarMember | undefined> {
    while (this.#ahead === undefined) {
      const step = await this.#steps.next();
      if (step.done === true) return undefined;
      if ('member' in step.value) return step.value.member;
    }
    const member = this.#ahead;
    this.#ahead = undefined;
    return member;
  }

  /** The next piece of the entry's content; undefined at its end. */
  async read(): Promise<Buffer | undefined> {
    if (this.#ahead !== undefined) return undefined;
    const step = await this.#steps.next();
    if (step.done === true) return undefined;
    if ('content' in step.value) return step.value.content;
    this.#ahead = step.value.member;
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#steps.return(undefined);
  }
}

async function* readSteps(archive: AsyncIterable<Buffer>): AsyncGenerator<Step> {
  let steps: Step[] = [];
  const parser = new TarParser((member) => {
    steps.push({ member });
    return {
      write: (content) => {
        steps.push({ content });
      },
      end: () => undefined,
    };
  });
  for await (const chunk of archive) {
    parser.write(chunk);
    yield* steps;
    steps = [];
  }
  parser.end();
}
