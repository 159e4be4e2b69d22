/** The solver on a declaration: facts and catalogue read, its answer with the places of the declaration. */
import { join, relative } from 'node:path';

import { recallFacts } from '../catalog/facts/recall.ts';
import type { Row } from '../catalog/facts/types.ts';
import type { LoadedCatalog } from '../catalog/load.ts';
import { FindingsError, type FactSource, type Finding } from '../errors.ts';
import { judgeAlternatives, nameOfKernel } from '../resolve/fit/alternatives.ts';
import { judgeFit, type Fit, type FitFinding } from '../resolve/fit/fit.ts';
import { offersOfLock, requestOfLock } from '../resolve/fit/from-lock.ts';
import {
  asksForAccelerators,
  migAsks,
  offersOf,
  requestOf,
  settle,
  settleKernel,
} from '../resolve/fit/from-image.ts';
import { kernelsOn } from '../resolve/fit/kernel-candidates.ts';
import { pathOf, type FitContext, type FitOffers, type SubjectPath } from '../resolve/fit/request.ts';
import type { KernelCandidate } from '../resolve/fit/rule.ts';
import type { Lock } from '../resolve/lock.ts';
import type { NodeImage, ParsedSpec } from '../spec/node-image.ts';
import type { CommandContext } from './context.ts';

export type JudgeContext = Pick<CommandContext, 'productRoot' | 'now'>;

export interface JudgedImage {
  readonly fit: Fit;
  readonly context: FitContext;
  readonly findings: readonly Finding[];
}

/** Facts by the folder that they were read from: a command reads them at most once. */
const factsByFolder = new Map<string, ReturnType<typeof recallFacts>>();

export function openFacts({
  productRoot,
}: Pick<CommandContext, 'productRoot'>): ReturnType<typeof recallFacts> {
  const folder = join(productRoot, 'drivers');
  const known = factsByFolder.get(folder);
  if (known !== undefined) return known;
  const loading = recallFacts(folder);
  factsByFolder.set(folder, loading);
  return loading;
}

export interface JudgeOptions {
  /** Judges by the facts alone, whether or not a source offers what is chosen. */
  readonly byFacts?: boolean;
  /** Default: what the catalogue says. */
  readonly offers?: FitOffers;
}

/**
 * @returns undefined for an image that asks for no accelerator
 * @throws FindingsError FACTS_INVALID
 */
export async function judgeImage(
  context: JudgeContext,
  parsed: ParsedSpec,
  catalog: LoadedCatalog,
  { byFacts = false, offers = offersOf(parsed.image, catalog) }: JudgeOptions = {},
): Promise<JudgedImage | undefined> {
  const { image } = parsed;
  if (image.base.image !== undefined || !asksForAccelerators(image)) return undefined;
  const facts = await openFacts(context);
  const now = context.now().toISOString().slice(0, 10);
  const fitContext: FitContext = { facts, now, ...(!byFacts && { offers }) };
  const fit = judgeFit(requestOf(image, catalog, byFacts ? facts : undefined), fitContext);
  return {
    fit,
    context: fitContext,
    findings: fit.findings.map((finding) => toFinding(finding, parsed, context)),
  };
}

export interface SettledImage {
  /** With what the solver chose in the place of what the declaration leaves open. */
  readonly image: NodeImage;
  /** Undefined when the offers know of none. */
  readonly kernel: KernelCandidate | undefined;
  /** Why it is not the kernel that would be preferred. */
  readonly passedOver: readonly string[];
}

/** @throws FindingsError INCOMPATIBLE for an image that is refused */
export async function settleImage(
  context: JudgeContext,
  parsed: ParsedSpec,
  catalog: LoadedCatalog,
  offers: FitOffers = offersOf(parsed.image, catalog),
): Promise<SettledImage> {
  const { image } = parsed;
  const judged = await judgeImage(context, parsed, catalog, { offers });
  const [preferred] = kernelsOn(offers.kernels ?? [], image.kernel);
  if (judged === undefined) {
    return { image: settleKernel(image, preferred), kernel: preferred, passedOver: [] };
  }
  const { chosen } = judged.fit;
  if (chosen === undefined) throw new FindingsError(judged.findings);
  const passedOver = preferred === undefined ? [] : whyNotKernel(preferred, judged);
  return { image: settle(image, chosen), kernel: chosen.kernel, passedOver };
}

function whyNotKernel(preferred: KernelCandidate, { fit, context }: JudgedImage): string[] {
  const version = nameOfKernel(preferred);
  const own = fit.chosen?.kernel === undefined ? version : nameOfKernel(fit.chosen.kernel);
  if (version === own) return [];
  const request = { ...fit.request, kernel: { ...fit.request.kernel, version } };
  const reasons = judgeAlternatives([[version, request]], fit, context).flatMap((one) => one.reasons);
  return [`kernel ${own} and not ${version}: ${reasons.join('; ')}`];
}

/**
 * What only a lock can tell: whether its very kernel and its very driver package go together. The rest was said when
 * the declaration was judged.
 */
export async function judgeLock(
  context: JudgeContext,
  parsed: ParsedSpec,
  catalog: LoadedCatalog,
  lock: Lock,
): Promise<readonly Finding[]> {
  const { image } = parsed;
  if (!asksForAccelerators(image)) return [];
  const facts = await openFacts(context);
  const now = context.now().toISOString().slice(0, 10);
  const offers = offersOfLock(offersOf(image, catalog), lock);
  const fit = judgeFit(requestOfLock(requestOf(image, catalog), lock), { facts, now, offers });
  return fit.findings
    .filter(({ rule, severity }) => severity === 'error' || rule.startsWith('kernel-'))
    .map((finding) => toFinding(finding, parsed, context));
}

function toFinding(
  finding: FitFinding,
  { image, sources }: ParsedSpec,
  { productRoot }: JudgeContext,
): Finding {
  const paths = [finding.path, ...finding.elements.map(pathOf)].map((one) => inDeclaration(one, image));
  const path = paths.find((one) => isWritten(one, image)) ?? [];
  return {
    code: 'INCOMPATIBLE',
    severity: finding.severity,
    message: finding.message,
    location: sources.at(path),
    suggestions: finding.suggestions.map(({ text }) => text),
    rule: finding.rule,
    sources: finding.rows.flatMap((row) => sourcesOf(row, productRoot)),
  };
}

/** A MIG profile is written below its GPU. */
function inDeclaration(path: SubjectPath, image: NodeImage): SubjectPath {
  const [key, index] = path;
  const ask = key === 'mig' && typeof index === 'number' ? migAsks(image)[index] : undefined;
  return ask === undefined ? path : ['gpus', ask.gpu, 'mig', ask.profile];
}

/** What a runtime brings along is not in the declaration itself. */
function isWritten([key, index]: SubjectPath, image: NodeImage): boolean {
  if (key === 'gpus' || key === 'runtimes' || key === 'addons') {
    return typeof index === 'number' && image[key]?.[index] !== undefined;
  }
  if (key === 'driver' || key === 'cuda' || key === 'kernel' || key === 'architecture') {
    return image[key] !== undefined;
  }
  return false;
}

/** The facts belong to the product, wherever it is: their files are named from its root. */
export function sourcesOf({ sources, confidence, location }: Row, productRoot: string): FactSource[] {
  const file = relative(productRoot, location.file);
  return sources.map(({ title, url }) => ({
    title,
    ...(url !== undefined && { url }),
    confidence,
    ...location,
    file,
  }));
}
