/** `ingot node` on a machine of ours, asked through its channel. */
import * as z from 'zod';

import { IngotError } from '../../errors.ts';
import type { GuestResult } from '../vm/channel.ts';
import type { Vm } from '../vm/machine.ts';

const Deployment = z.object({
  id: z.string(),
  digest: z.string().optional(),
  version: z.string().optional(),
});

/** What of `ingot node status --json` is needed here; a later agent may say more. */
const NodeStatus = z.object({
  booted: Deployment.optional(),
  boot: z.object({ blessed: z.boolean() }).optional(),
  restart: z.object({ kind: z.enum(['soft', 'full']), seconds: z.number().optional() }).optional(),
  gate: z
    .object({
      deployment: z.string(),
      healthy: z.boolean(),
      checks: z.array(
        z.object({ name: z.string(), healthy: z.boolean(), required: z.boolean(), output: z.string() }),
      ),
    })
    .optional(),
  updates: z.array(
    z.object({ outcome: z.string(), version: z.string().optional(), reason: z.string().optional() }),
  ),
});
export type NodeStatus = z.infer<typeof NodeStatus>;

const Upgraded = z.object({
  done: z.string(),
  pulled: z.object({ bytes: z.number(), layers: z.number() }),
  seconds: z.number(),
  restart: z.object({ kind: z.enum(['none', 'soft', 'full']), reasons: z.array(z.string()) }).optional(),
});
export type Upgraded = z.infer<typeof Upgraded>;

/** Starting Node.js takes its time on an emulated processor. */
const STATUS_MS = 180_000;
const POLL_MS = 3_000;

export async function readStatus(vm: Vm): Promise<NodeStatus> {
  return await askJson(vm, 'ingot node status', STATUS_MS, NodeStatus);
}

/** Pulls and stages. @throws IngotError VM_FAILED with what the node said against it */
export async function stageImage(vm: Vm, reference: string, timeoutMs: number): Promise<Upgraded> {
  return await askJson(vm, `ingot node switch '${reference}'`, timeoutMs, Upgraded);
}

export interface Settled {
  readonly status: NodeStatus;
  /** Of the boot, to wait for the next one. */
  readonly boot: string;
  /** Starts that it took. */
  readonly starts: number;
}

/**
 * Waits until a start has passed its gate, through as many starts as the boot loader tries.
 *
 * @param after the boot that ends; undefined for the first
 * @throws IngotError VM_FAILED when the time is up; its output is what the gate said last
 */
export async function settle(vm: Vm, after: string | undefined, timeoutMs: number): Promise<Settled> {
  const end = vm.seconds + timeoutMs / 1000;
  const left = (): number => Math.max(1, (end - vm.seconds) * 1000);
  let previous = after;
  let failed: NodeStatus['gate'];
  for (let starts = 1; ; starts += 1) {
    const boot = await vm.waitForBoot({ timeoutMs: left(), after: previous });
    previous = boot;
    while (vm.bootId === boot) {
      const status = await unlessRestarted(vm, boot, readStatus(vm));
      if (status === undefined) break;
      const { booted, gate } = status;
      if (gate !== undefined && gate.deployment === booted?.id && !gate.healthy) failed = gate;
      if (await hasPassed(vm, boot, status)) {
        // What it is now: the gate may have passed since it was asked.
        const settled = await unlessRestarted(vm, boot, readStatus(vm));
        if (settled === undefined) break;
        return { status: settled, boot, starts };
      }
      if (left() <= 1) {
        throw new IngotError('VM_FAILED', 'the node’s start did not pass its checks in time', {
          hint: '`--timeout` gives it longer, `--keep DIR` leaves the console log',
          output: failed === undefined ? vm.console.tail(20) : renderGate(failed),
        });
      }
      await new Promise((resume) => setTimeout(resume, POLL_MS));
    }
  }
}

/** An agent that tells the boot loader nothing is asked for its checks alone. */
async function hasPassed(vm: Vm, boot: string, { boot: told, gate, booted }: NodeStatus): Promise<boolean> {
  const running = vm.exec('systemctl is-system-running', { timeoutMs: STATUS_MS });
  const state = await unlessRestarted(vm, boot, running);
  if (state === undefined || /^(?:initializing|starting|stopping)/.test(state.stdout)) return false;
  if (told !== undefined) {
    // A system that one went back to is good from its start on; its checks, and what is noted of the other, come later.
    const noted = vm.exec('systemctl is-active --quiet ingot-bless.service', { timeoutMs: STATUS_MS });
    return told.blessed && (await unlessRestarted(vm, boot, noted))?.exitCode === 0;
  }
  if (gate !== undefined && gate.deployment === booted?.id) return gate.healthy;
  const check = vm.exec('ingot node check', { timeoutMs: 10 * STATUS_MS });
  return (await unlessRestarted(vm, boot, check))?.exitCode === 0;
}

/** What a restart cuts short is no failure: the next start is waited for. */
async function unlessRestarted<T>(vm: Vm, boot: string, work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof IngotError && error.code === 'VM_FAILED' && vm.bootId !== boot) return undefined;
    throw error;
  }
}

export function renderGate({ checks }: NonNullable<NodeStatus['gate']>): string {
  const failed = checks.filter(({ healthy, required }) => required && !healthy);
  return failed.map(({ name, output }) => `${name}: ${output}`).join('\n');
}

async function askJson<Schema extends z.ZodType>(
  vm: Vm,
  command: string,
  timeoutMs: number,
  schema: Schema,
): Promise<z.infer<Schema>> {
  const result = await vm.exec(`${command} --json`, { timeoutMs });
  return parseAnswer(command, result, schema);
}

function parseAnswer<Schema extends z.ZodType>(
  command: string,
  { exitCode, stdout, stderr, timedOut }: GuestResult,
  schema: Schema,
): z.infer<Schema> {
  const output = [stderr, exitCode === 0 ? stdout : ''].join('').trim();
  const fail = (what: string): IngotError =>
    new IngotError('VM_FAILED', `\`${command}\` on the node ${what}`, { ...(output !== '' && { output }) });
  if (timedOut) throw fail('took too long');
  if (exitCode !== 0) throw fail(`exited with ${exitCode}`);
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch {
    throw fail('printed no JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw fail('printed what this version of Ingot does not understand');
  return parsed.data;
}
