/**
 * The members of one large JSON object, as its bytes go by: of 70 MB that a tracker exports, an image asks for a few.
 * Only what is wanted is kept and parsed; the rest is passed over byte by byte.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = new Set([0x7b, 0x5b]); // { [
const CLOSE = new Set([0x7d, 0x5d]);
const COLON = 0x3a;
const COMMA = 0x2c;
const SPACE = new Set([0x20, 0x09, 0x0a, 0x0d]);

export interface MembersOptions {
  /** Whether the member of this name is to be parsed. */
  readonly wants: (name: string) => boolean;
  readonly onMember: (name: string, value: unknown) => void;
  /** Of one member that is wanted. */
  readonly maxBytes: number;
}

/** @throws Error from `write` and `end`, about what is no JSON object */
export class JsonMembers {
  readonly #options: MembersOptions;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #state: 'start' | 'name' | 'colon' | 'value' | 'end' = 'start';
  /** What is kept of the name or of the value that goes by. */
  #kept: Buffer[] | undefined;
  #keptBytes = 0;
  #name = '';
  #count = 0;

  constructor(options: MembersOptions) {
    this.#options = options;
  }

  /** Members that went by, wanted or not. */
  get count(): number {
    return this.#count;
  }

  write(chunk: Buffer): void {
    let from = 0;
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at] ?? 0;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) {
          this.#inString = false;
          if (this.#state === 'name') {
            this.#keep(chunk.subarray(from, at + 1));
            this.#endName();
          }
        }
        continue;
      }
      if (byte === QUOTE) {
        this.#inString = true;
        if (this.#state === 'name') {
          this.#kept = [];
          from = at;
        }
      } else if (OPEN.has(byte)) {
        this.#open(byte);
      } else if (CLOSE.has(byte)) {
        // The object's own end ends the last value too.
        if (this.#depth === 1) this.#endValue(chunk.subarray(from, at));
        this.#depth -= 1;
        if (this.#depth === 0) this.#state = 'end';
      } else if (this.#depth === 1 && byte === COMMA) {
        this.#endValue(chunk.subarray(from, at));
        this.#state = 'name';
      } else if (this.#state === 'colon' && byte === COLON) {
        this.#state = 'value';
        this.#keptBytes = 0;
        this.#kept = this.#options.wants(this.#name) ? [] : undefined;
        from = at + 1;
      } else if (this.#state !== 'value' && !SPACE.has(byte)) {
        throw new Error('it is no JSON object');
      }
    }
    if (this.#kept !== undefined) this.#keep(chunk.subarray(from));
  }

  end(): void {
    if (this.#state !== 'end') throw new Error('it ends in the middle');
  }

  #open(byte: number): void {
    if (this.#state === 'start' && byte === 0x7b) this.#state = 'name';
    else if (this.#state !== 'value') throw new Error('it is no JSON object');
    this.#depth += 1;
  }

  #keep(bytes: Buffer): void {
    this.#keptBytes += bytes.length;
    if (this.#keptBytes > this.#options.maxBytes) {
      throw new Error(`what it says of ${JSON.stringify(this.#name)} is larger than any such data`);
    }
    this.#kept?.push(Buffer.from(bytes));
  }

  #endName(): void {
    this.#name = String(JSON.parse(Buffer.concat(this.#kept ?? []).toString()));
    this.#kept = undefined;
    this.#keptBytes = 0;
    this.#state = 'colon';
  }

  #endValue(last: Buffer): void {
    if (this.#state === 'name' && this.#count === 0) return; // {}
    if (this.#state !== 'value') throw new Error('it is no JSON object');
    this.#count += 1;
    if (this.#kept !== undefined) {
      this.#keep(last);
      this.#options.onMember(this.#name, JSON.parse(Buffer.concat(this.#kept).toString()));
      this.#kept = undefined;
      this.#keptBytes = 0;
    }
  }
}
