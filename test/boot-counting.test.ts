/**
 * The whole of boot counting against chance: the menus that `grub-mkconfig` writes, what GRUB does with them, and what
 * the node does with a start that passed its checks, on a real environment block and journal. Deployments are a list,
 * and the power may go between any two steps.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import type { Digest } from '../src/digest.ts';
import { digestOf } from '../src/digest.ts';
import { bless } from '../src/node/boot/bless.ts';
import { parseEnvironment, renderEnvironment } from '../src/node/boot/grub-environment.ts';
import { parseBackReason } from '../src/node/boot/judge-boot.ts';
import type { Deployment, Engine } from '../src/node/engine.ts';
import { Journal } from '../src/node/journal.ts';
import { badDigests } from '../src/node/update.ts';
import { run } from '../src/proc/run.ts';
import { type GrubStart, startByMenu } from './support/grub-menu.ts';

const SCRIPT = join(import.meta.dirname, '../layers/base/debian/grub-mkconfig');
const TRIES = 3;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-counting-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** What becomes of a start of it. */
type Nature = 'good' | 'its checks fail' | 'it hangs' | 'it cannot be loaded';

interface Installed {
  readonly bootId: string | undefined;
  readonly nature: Nature;
  isPinned: boolean;
}

const menus = new Map<string, Promise<string>>();

/**
 * Menus differ in names alone, so each is made once by the real script.
 *
 * @param good what was known to be good when it was written
 */
async function menuOf(ids: readonly (string | undefined)[], good?: string, update?: string): Promise<string> {
  const shape = ids.map((id) => (id === undefined ? '-' : 'x')).join('') + (update ?? '');
  const made = menus.get(shape) ?? makeMenu(ids, update);
  menus.set(shape, made);
  let text = (await made).replaceAll('placeholder-good.', good ?? '');
  for (const [index, id] of ids.entries()) text = text.replaceAll(`placeholder-${index}.`, id ?? '');
  return text;
}

async function makeMenu(ids: readonly (string | undefined)[], update?: string): Promise<string> {
  const loader = await mkdtemp(join(folder, 'loader-'));
  await mkdir(join(loader, 'entries'));
  await mkdir(join(folder, 'grub'), { recursive: true });
  const known = new Map([['good_id', 'placeholder-good.']]);
  await writeFile(join(folder, 'grub/grubenv'), renderEnvironment(known));
  for (const [index, id] of ids.entries()) {
    const word = id === undefined ? '' : ` ingot.id=placeholder-${index}.`;
    const lines = [
      `title number ${index}`,
      `version ${ids.length - index}`,
      `options rw${word} ostree=/${index}`,
      `linux /kernel-${index}`,
      `initrd /initrd-${index}`,
    ];
    await writeFile(join(loader, 'entries', `${index}.conf`), `${lines.join('\n')}\n`);
  }
  const settings = join(loader, 'update.json');
  if (update !== undefined) await writeFile(settings, update);
  await run(['sh', SCRIPT, '-o', join(loader, 'grub.cfg')], { env: { _INGOT_UPDATE_FILE: settings } });
  return readFile(join(loader, 'grub.cfg'), 'utf8');
}

class PowerLoss extends Error {}

class Node implements Pick<Engine, 'deployments' | 'remove' | 'makeDefault'> {
  installed: Installed[] = [{ bootId: 'first-0', nature: 'good', isPinned: false }];
  booted: Installed | undefined;
  /** Known to be good when the menu was written. */
  #goodThen: string | undefined;
  /** `/run/ingot/blessed` */
  #blessed: string | undefined;
  canSave = true;
  /** Starts since the last that was known to be good or newly so. */
  readonly starts: string[] = [];
  /** Steps of blessing until the power goes. */
  powerLeft = Infinity;
  readonly environmentFile: string;
  readonly journal: Journal;
  #staged = 0;

  private constructor(place: string) {
    this.environmentFile = join(place, 'grubenv');
    const spend = (): void => {
      this.#spend();
    };
    this.journal = new (class extends Journal {
      override async append(entry: Parameters<Journal['append']>[0]): Promise<void> {
        spend();
        await super.append(entry);
        spend();
      }
    })(join(place, 'journal.jsonl'), () => new Date(0));
  }

  static async create(): Promise<Node> {
    const node = new Node(await mkdtemp(join(folder, 'node-')));
    await writeFile(node.environmentFile, renderEnvironment(new Map()));
    return node;
  }

  async deployments(): Promise<readonly Deployment[]> {
    this.#spend();
    return Promise.resolve(
      this.installed.map((one, index) => ({
        index,
        id: one.bootId ?? 'unnamed',
        isBooted: one === this.booted,
        isStaged: false,
        isRollback: false,
        isPinned: one.isPinned,
        isUnlocked: false,
        reference: undefined,
        digest: digestOfInstalled(one),
        version: one.bootId,
        created: undefined,
        facts: {},
        layers: undefined,
        bootId: one.bootId,
      })),
    );
  }

  async remove({ bootId }: Deployment): Promise<void> {
    await this.#install(this.installed.filter((one) => one.bootId !== bootId));
  }

  async makeDefault({ bootId }: Pick<Deployment, 'bootId'>): Promise<void> {
    const own = this.installed.find((one) => one.bootId === bootId);
    if (own === undefined) throw new Error('gone');
    await this.#install([own, ...this.installed.filter((one) => one !== own)]);
  }

  /** As ostree: in front, and nothing stays but what runs and what is pinned. */
  async update(nature: Nature): Promise<void> {
    if (this.booted === undefined) return;
    const next = { bootId: `update-${++this.#staged}`, nature, isPinned: false };
    const kept = this.installed.filter((one) => one === this.booted || one.isPinned);
    await this.#install([next, ...kept]);
  }

  /** Switches on, and goes on until something stays up. @returns how often that was */
  async start(choice?: number): Promise<number> {
    for (let count = 1; count <= 4 * TRIES; count++) {
      const start = await this.#boot(count === 1 ? choice : undefined);
      const { nature } = this.#running();
      const isCounted = start.words.some((word) => word.startsWith('ingot.try='));
      if (nature === 'it hangs') continue;
      if (nature === 'its checks fail') {
        // ingot-failed.service
        if (isCounted) continue;
        return count;
      }
      try {
        const { verdict } = await bless({
          engine: this as unknown as Engine,
          journal: this.journal,
          environmentFile: this.environmentFile,
          back: parseBackReason(start.words.join(' ')),
          lastVerdict: undefined,
        });
        if (verdict.kind === 'good' || verdict.kind === 'known') this.#blessed = verdict.id;
      } catch (error) {
        if (!(error instanceof PowerLoss)) throw error;
        this.powerLeft = Infinity;
        continue;
      }
      return count;
    }
    throw new Error(`never comes up: ${this.starts.slice(-10).join(', ')}`);
  }

  async environment(): Promise<ReadonlyMap<string, string> | undefined> {
    return parseEnvironment(await readFile(this.environmentFile));
  }

  /** The list and its menu become current at once. */
  async #install(next: Installed[]): Promise<void> {
    this.#spend();
    this.#goodThen = (await this.environment())?.get('good_id') ?? this.#blessed ?? this.#goodThen;
    this.installed = next;
    this.#spend();
  }

  async #boot(choice?: number): Promise<GrubStart> {
    const environment = await this.environment();
    const variables = new Map(environment ?? []);
    const canSave = this.canSave && environment !== undefined;
    const kernels = this.installed.map((_one, index) => `/kernel-${index}`);
    const unloadable = new Set(
      kernels.filter((_kernel, index) => this.installed[index]?.nature === 'it cannot be loaded'),
    );
    const world = { environment: variables, canSave, unloadable };
    const menu = await menuOf(
      this.installed.map(({ bootId }) => bootId),
      this.#goodThen,
    );
    const start = startByMenu(menu, { ...world, ...(choice !== undefined && { choice }) });
    if (canSave) await writeFile(this.environmentFile, renderEnvironment(variables));
    // A person who chose what cannot be loaded sees the menu again, and lets it be.
    if (start === 'waits' && choice !== undefined) return this.#boot();
    if (typeof start === 'string') throw new Error(`GRUB ${start}: ${this.starts.join(', ')}`);
    this.#blessed = undefined;
    this.booted = this.installed[kernels.indexOf(start.kernel)];
    this.starts.push(this.#running().bootId ?? 'unnamed');
    return start;
  }

  #running(): Installed {
    if (this.booted === undefined) throw new Error('nothing runs');
    return this.booted;
  }

  #spend(): void {
    if (--this.powerLeft < 0) throw new PowerLoss();
  }
}

function digestOfInstalled({ bootId }: Installed): Digest {
  return digestOf(bootId ?? 'unnamed');
}

const BAD: readonly Nature[] = ['its checks fail', 'it hangs', 'it cannot be loaded'];

async function started(): Promise<Node> {
  const node = await Node.create();
  await node.start();
  return node;
}

describe('an update', () => {
  test('that is good is tried once, and is not counted from then on', async () => {
    const node = await started();
    await node.update('good');
    expect(await node.start()).toBe(1);
    expect(Object.fromEntries((await node.environment()) ?? [])).toEqual({ good_id: 'update-1' });
    for (let more = 0; more < 5; more++) await node.start();
    expect(Object.fromEntries((await node.environment()) ?? [])).toEqual({ good_id: 'update-1' });
  });

  test.each([
    ['its checks fail', TRIES],
    ['it hangs', TRIES],
    // It is not even tried again.
    ['it cannot be loaded', 0],
  ] as const)(
    'of which it holds that %s goes back after %i starts, once and for all',
    async (nature, tries) => {
      const node = await started();
      await node.update(nature);
      expect(await node.start()).toBe(tries + 1);
      expect(node.starts.slice(1)).toEqual([...Array<string>(tries).fill('update-1'), 'first-0']);
      expect(node.installed.map(({ bootId }) => bootId)).toEqual(['first-0']);
      const { entries } = await node.journal.read();
      expect(entries.map(({ event }) => event)).toEqual(['good', 'bad', 'settled']);
      expect([...badDigests(entries)]).toEqual([digestOf('update-1')]);
      expect(await node.start()).toBe(1);
    },
  );

  test('goes back to what is known to be good, wherever that stands', async () => {
    const node = await started();
    node.installed = [
      { bootId: 'bad', nature: 'it hangs', isPinned: false },
      { bootId: 'worse', nature: 'it hangs', isPinned: true },
      { bootId: undefined, nature: 'it hangs', isPinned: true },
      { bootId: 'first-0', nature: 'good', isPinned: true },
    ];
    await node.start();
    expect(node.starts.slice(1)).toEqual(['bad', 'bad', 'bad', 'first-0']);
  });

  test('that is pinned makes way and stays', async () => {
    const node = await started();
    await node.update('it hangs');
    for (const one of node.installed) one.isPinned = true;
    await node.start();
    expect(node.installed.map(({ bootId }) => bootId)).toEqual(['first-0', 'update-1']);
    expect(await node.start()).toBe(1);
    // By hand it gets its tries again.
    await node.makeDefault({ bootId: 'update-1' });
    expect(await node.start()).toBe(TRIES + 1);
    expect(node.booted?.bootId).toBe('first-0');
  });

  test('waits when GRUB cannot count, and has its tries when it can', async () => {
    const node = await started();
    await node.update('good');
    await writeFile(node.environmentFile, Buffer.alloc(1024));
    await node.start();
    expect(node.booted?.bootId).toBe('first-0');
    await node.start();
    expect(node.booted?.bootId).toBe('update-1');
  });

  test('has as many tries as its image says, within reason', async () => {
    const ids = ['b', 'a'];
    const world = { environment: new Map<string, string>(), canSave: true, unloadable: new Set<string>() };
    for (const [text, expected] of [
      ['{"source":"a/b:c","tries":5}', 5],
      ['{\n  "source": "a/b:c",\n  "tries": 1\n}\n', 1],
      ['{"tries":0}', 3],
      ['{"tries":12}', 3],
      ['nonsense', 3],
    ] as const) {
      world.environment.clear();
      const menu = await menuOf(ids, undefined, text);
      const order: string[] = [];
      for (let count = 0; count < 7; count++) {
        const start = startByMenu(menu, world);
        if (typeof start !== 'string') order.push(start.kernel);
      }
      expect(order.filter((kernel) => kernel === '/kernel-0')).toHaveLength(expected);
      expect(order.slice(expected)).toEqual(Array(7 - expected).fill('/kernel-1'));
    }
  });
});

test.each(BAD)('power is lost at any step of going back from what %s', async (nature) => {
  for (let after = 0; after < 12; after++) {
    const node = await started();
    await node.update(nature);
    node.powerLeft = after;
    await node.start();
    await node.start();
    expect(node.installed.map(({ bootId }) => bootId)).toEqual(['first-0']);
    expect(Object.fromEntries((await node.environment()) ?? [])).toEqual({ good_id: 'first-0' });
    const events = (await node.journal.read()).entries.slice(1).map(({ event }) => event);
    expect(events[0]).toBe('bad');
    expect(events.at(-1)).toBe('settled');
    expect(events.filter((event) => event === 'bad')).toHaveLength(1);
  }
});

test('a good system whose checks fail later stays up', async () => {
  const node = await started();
  await node.update('good');
  await node.start();
  node.installed = node.installed.map((one) => ({ ...one, nature: 'its checks fail' }));
  expect(await node.start()).toBe(1);
  expect(await node.start()).toBe(1);
  expect(node.booted?.bootId).toBe('update-1');
});

type Step =
  | { readonly do: 'update'; readonly nature: Nature }
  | { readonly do: 'start' | 'rollback' | 'pin' | 'damage' }
  | { readonly do: 'choose'; readonly entry: number }
  | { readonly do: 'lose power'; readonly after: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('update' as const), nature: fc.constantFrom('good', 'good', ...BAD) }),
  fc.record({
    do: fc.constantFrom('start' as const, 'rollback' as const, 'pin' as const, 'damage' as const),
  }),
  fc.record({ do: fc.constant('choose' as const), entry: fc.nat(3) }),
  fc.record({ do: fc.constant('lose power' as const), after: fc.nat(9) }),
);

test('whatever happens, it ends in a good system that GRUB knows', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const node = await started();
      for (const one of steps) {
        switch (one.do) {
          case 'update':
            // Nobody updates from a system that does not come up.
            if (node.booted?.nature === 'good') await node.update(one.nature);
            break;
          case 'rollback':
            await node.makeDefault({ bootId: node.installed.at(-1)?.bootId });
            break;
          case 'pin':
            if (node.booted !== undefined) node.booted.isPinned = true;
            break;
          case 'damage':
            await writeFile(node.environmentFile, Buffer.alloc(1024, 'x'));
            break;
          case 'choose':
            await node.start(one.entry % node.installed.length);
            break;
          case 'lose power':
            node.powerLeft = one.after;
            await node.start();
            node.powerLeft = Infinity;
            break;
          case 'start':
            await node.start();
        }
      }
      // One start for each update that may be waiting, and one that changes nothing any more.
      for (let count = 0; count < 4; count++) await node.start();
      expect(node.booted?.nature).toBe('good');
      const { bootId } = node.installed[0] ?? {};
      expect(node.booted?.bootId).toBe(bootId);
      expect(Object.fromEntries((await node.environment()) ?? [])).toEqual({ good_id: bootId });
      // Each that was not good is remembered, and nothing that runs is among them.
      const bad = badDigests((await node.journal.read()).entries);
      for (const one of node.installed)
        if (one.nature === 'good') expect(bad).not.toContain(digestOfInstalled(one));
    }),
    { numRuns: 150 },
  );
});
