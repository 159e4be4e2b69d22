/**
 * What GRUB does with the menus that the image's `grub-mkconfig` writes: the part of its script language that they use,
 * its environment block, and how it goes on when an entry cannot be loaded (`fallback`, GRUB manual 16.1.5). Anything
 * else is an error. Machines hold it against GRUB itself: `test/vm/node-vm.test.ts`.
 */

export interface GrubWorld {
  /** As the environment block holds them; changed by `save_env`. */
  readonly environment: Map<string, string>;
  /** Whether the block can be written. */
  readonly canSave: boolean;
  /** Kernels that cannot be loaded. */
  readonly unloadable: ReadonlySet<string>;
  /** The entry that a person chooses. What a person chose has no fallback. */
  readonly choice?: number;
}

export interface GrubStart {
  readonly kernel: string;
  readonly words: readonly string[];
}

type Statement =
  | { readonly type: 'command'; readonly words: readonly Word[] }
  | { readonly type: 'if'; readonly branches: readonly Branch[] }
  | { readonly type: 'entry'; readonly title: Word; readonly body: readonly Statement[] };
interface Branch {
  /** Undefined for `else`. */
  readonly condition: readonly Word[] | undefined;
  readonly body: readonly Statement[];
}
/** Pieces of a word: text, and variables, which vanish with their word when they are empty and not in quotes. */
type Word = readonly { readonly text?: string; readonly variable?: string; readonly isQuoted: boolean }[];

/** Undefined when GRUB restarts the machine, or waits in its menu. */
export function startByMenu(menu: string, world: GrubWorld): GrubStart | 'restart' | 'waits' {
  const statements = parseMenu(menu);
  const machine = new Machine(world);
  machine.run(statements);
  const { entries, variables } = machine;
  const order =
    world.choice === undefined
      ? [
          Number(variables.get('default') ?? 0),
          ...(variables.get('fallback') ?? '').split(' ').filter(Boolean).map(Number),
        ]
      : [world.choice];
  for (const index of order) {
    const entry = entries[index];
    if (entry === undefined) throw new Error(`there is no entry ${index}`);
    const result = machine.start(entry);
    if (result !== undefined) return result;
    // The variable is read again each time; nothing in these menus changes it there.
  }
  return 'waits';
}

class Machine {
  readonly entries: (readonly Statement[])[] = [];
  readonly variables = new Map<string, string>();
  readonly #world: GrubWorld;
  #loaded: GrubStart | undefined;
  #isRestarting = false;

  constructor(world: GrubWorld) {
    this.#world = world;
  }

  start(entry: readonly Statement[]): GrubStart | 'restart' | undefined {
    this.#loaded = undefined;
    this.run(entry);
    return this.#isRestarting ? 'restart' : this.#loaded;
  }

  run(statements: readonly Statement[]): void {
    for (const statement of statements) {
      if (statement.type === 'entry') this.entries.push(statement.body);
      else if (statement.type === 'command') this.#command(statement.words);
      else {
        const branch = statement.branches.find(
          ({ condition }) => condition === undefined || this.#command(condition),
        );
        if (branch !== undefined) this.run(branch.body);
      }
    }
  }

  #expand(words: readonly Word[]): string[] {
    return words.flatMap((word) => {
      const text = word.map((piece) => piece.text ?? this.variables.get(piece.variable ?? '') ?? '').join('');
      return text === '' && word.every(({ isQuoted }) => !isQuoted) ? [] : [text];
    });
  }

  #command(raw: readonly Word[]): boolean {
    const [name = '', ...args] = this.#expand(raw);
    const { environment, canSave, unloadable } = this.#world;
    switch (name) {
      case 'set': {
        const [, key, value] = /^(\w+)=(.*)$/s.exec(args[0] ?? '') ?? [];
        if (key === undefined || value === undefined || args.length !== 1)
          throw new Error(`set ${args.join(' ')}`);
        this.variables.set(key, value);
        return true;
      }
      case '[': {
        const [left, operator, right, end, ...more] = args;
        if (end !== ']' || more.length > 0) throw new Error(`[ ${args.join(' ')}`);
        if (operator === '=') return left === right;
        if (operator === '!=') return left !== right;
        throw new Error(`operator ${operator}`);
      }
      case 'load_env':
        for (const key of args) {
          const value = environment.get(key);
          if (value !== undefined) this.variables.set(key, value);
        }
        return true;
      case 'save_env':
        if (!canSave) return false;
        for (const key of args) environment.set(key, this.variables.get(key) ?? '');
        return true;
      case 'linux': {
        const [kernel = '', ...words] = args;
        if (unloadable.has(kernel)) return false;
        this.#loaded = { kernel, words };
        return true;
      }
      case 'initrd':
        return this.#loaded !== undefined;
      case 'reboot':
        this.#isRestarting = true;
        return true;
      case 'serial':
        return false;
      case 'terminal_input':
      case 'terminal_output':
      case 'echo':
      case 'sleep':
        return true;
      default:
        throw new Error(`GRUB has no command ${JSON.stringify(name)} here`);
    }
  }
}

function parseMenu(text: string): Statement[] {
  const lines = splitCommands(text);
  let at = 0;
  const peek = (): string | undefined => plainOf(lines[at]?.[0]);
  const block = (ends: readonly string[]): Statement[] => {
    const body: Statement[] = [];
    for (;;) {
      const words = lines[at];
      const head = plainOf(words?.[0]);
      if (words === undefined) {
        if (ends.length > 0) throw new Error(`the menu ends before ${ends.join(' or ')}`);
        return body;
      }
      if (ends.includes(head ?? '')) return body;
      at++;
      if (head === 'if') body.push(conditional(words.slice(1)));
      else if (head === 'menuentry') {
        const [, title, open] = words;
        if (title === undefined || plainOf(open) !== '{') throw new Error('menuentry TITLE {');
        const inside = block(['}']);
        at++;
        body.push({ type: 'entry', title, body: inside });
      } else body.push({ type: 'command', words });
    }
  };
  const conditional = (first: readonly Word[]): Statement => {
    const branches: Branch[] = [];
    let condition: readonly Word[] | undefined = first;
    for (;;) {
      if (condition !== undefined) keyword('then');
      branches.push({ condition, body: block(['elif', 'else', 'fi']) });
      const head = peek();
      const rest = lines[at]?.slice(1) ?? [];
      at++;
      if (head === 'fi') return { type: 'if', branches };
      condition = head === 'elif' ? rest : undefined;
      // `else COMMAND` on one line
      if (head === 'else' && rest.length > 0) lines.splice(at, 0, rest);
    }
  };
  const keyword = (word: string): void => {
    const [head, ...rest] = lines[at] ?? [];
    if (plainOf(head) !== word) throw new Error(`expected ${word}`);
    at++;
    if (rest.length > 0) lines.splice(at, 0, rest);
  };
  return block([]);
}

function plainOf(word: Word | undefined): string | undefined {
  return word?.length === 1 && word[0]?.isQuoted === false ? word[0].text : undefined;
}

/** Commands, each a list of words. A newline or `;` ends one; `#` at its beginning is a comment. */
function splitCommands(text: string): Word[][] {
  const commands: Word[][] = [];
  let command: Word[] = [];
  let word: { text?: string; variable?: string; isQuoted: boolean }[] | undefined;
  const endWord = (): void => {
    if (word !== undefined) command.push(word);
    word = undefined;
  };
  const endCommand = (): void => {
    endWord();
    if (command.length > 0) commands.push(command);
    command = [];
  };
  const token = /#[^\n]*|[\n;]|[ \t]+|'([^']*)'|"((?:[^"\\$]|\$\w+|\\.)*)"|\$(\w+)|\\(.)|([^\s;'"\\$#]+)/gsy;
  while (token.lastIndex < text.length) {
    const at = token.lastIndex;
    const match = token.exec(text);
    if (match === null) throw new Error(`GRUB would not take: ${text.slice(at, at + 40)}`);
    const [all, single, double, variable, escaped, plain] = match;
    if (all.startsWith('#')) continue;
    if (all === '\n' || all === ';') endCommand();
    else if (/^[ \t]/.test(all)) endWord();
    else {
      word ??= [];
      if (single !== undefined) word.push({ text: single, isQuoted: true });
      else if (double !== undefined) {
        word.push({ text: '', isQuoted: true });
        for (const [piece, name] of double.matchAll(/\$(\w+)|[^$]+/g)) {
          word.push(
            name === undefined ? { text: piece, isQuoted: true } : { variable: name, isQuoted: true },
          );
        }
      } else if (variable !== undefined) word.push({ variable, isQuoted: false });
      else word.push({ text: escaped ?? plain ?? '', isQuoted: escaped !== undefined });
    }
  }
  endCommand();
  return commands;
}
