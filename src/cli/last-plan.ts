/** What the last build of an image was made from, kept in the store so that the next plan can say what changed. */
import { PlanRecord, planRecordKey, recordPlan } from '../compare/plan-record.ts';
import { hexOf } from '../digest.ts';
import type { Store } from '../store/store.ts';
import type { PreparedPlan } from './prepare-plan.ts';

const KIND = 'plans';

/** Undefined when no build of this image ended in this store, or a version that kept something else. */
export async function readLastPlan(store: Store, prepared: PreparedPlan): Promise<PlanRecord | undefined> {
  return PlanRecord.safeParse(await store.readRecord(KIND, keyOf(prepared))).data;
}

export async function writeLastPlan(store: Store, prepared: PreparedPlan): Promise<void> {
  await store.writeRecord(KIND, keyOf(prepared), recordPlan(prepared.plan, prepared.builder));
}

function keyOf({ plan, spec }: PreparedPlan): string {
  return hexOf(planRecordKey(plan.name, spec.image.variant, plan.architecture));
}
