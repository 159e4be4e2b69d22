/** `ingot explain`: why each choice was made and what else was possible, or why nothing fits. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { Command } from 'commander';

import { IngotError, type Finding } from '../../errors.ts';
import { createPalette } from '../../report/palette.ts';
import { explainFit, type ChoiceExplanation, type Explanation } from '../../resolve/fit/explain.ts';
import { makeMatrix, type Matrix } from '../../resolve/fit/matrix.ts';
import type { FitContext } from '../../resolve/fit/request.ts';
import { nearest } from '../../spec/suggest.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { recallOffers } from '../index-offers.ts';
import { judgeImage, type JudgedImage } from '../judge-image.ts';
import { findingsOf, openCatalog, openSpec } from '../load-image.ts';
import { findingToJson, renderFindings } from '../render-error.ts';
import { renderExplanation, renderMatrix } from '../render-explain.ts';
import { renderMatrixPage } from '../render-matrix-html.ts';

interface ExplainOptions {
  readonly variant?: string;
  readonly facts?: boolean;
  readonly matrix?: boolean;
  readonly html?: string;
}

export function explainCommand(bind: Bind): Command {
  return new Command('explain')
    .description('tell why driver, CUDA and runtimes of an image fit together, or why not')
    .argument('<file>', 'declaration, such as images/debian-minimal.yaml')
    .argument('[topics...]', 'gpus, driver, modules, kernel, cuda, runtime, or the name of a runtime')
    .option('--variant <name>', 'a variant of the declaration')
    .option('--facts', 'judge by the facts alone, also what no configured source offers')
    .option('--matrix', 'print the table of GPUs, drivers, CUDA and runtimes')
    .option('--html <file>', 'write that table as a page of its own')
    .addHelpText(
      'after',
      `
Needs neither root nor network. Ends with 2 when the image is refused.

Examples:
  ingot explain images/debian-nvidia-cuda.yaml
  ingot explain images/debian-nvidia-cuda.yaml driver
  ingot explain images/debian-nvidia-cuda.yaml driver cuda
  ingot explain images/debian-nvidia-cuda.yaml --facts --matrix
  ingot explain images/debian-nvidia-cuda.yaml --facts --html matrix.html
`,
    )
    .action(bind(explain));
}

async function explain(
  context: CommandContext,
  file: string,
  topics: readonly string[],
  { variant, facts = false, matrix: wantsMatrix = false, html }: ExplainOptions,
): Promise<CommandResult> {
  const catalog = await openCatalog(context, [file]);
  const parsed = await openSpec(context, file, variant, catalog);
  const offers = facts ? undefined : await recallOffers(context, parsed, catalog);
  const options = { byFacts: facts, ...(offers !== undefined && { offers }) };
  const judged = await judgeImage(context, parsed, catalog, options);
  const findings = await findingsOf(context, parsed, catalog, options);
  const name =
    parsed.image.variant === undefined ? parsed.image.name : `${parsed.image.name} (${parsed.image.variant})`;
  const isRefused = findings.some(({ severity }) => severity === 'error');
  const verdict = isRefused ? 'refused' : findings.length > 0 ? 'warning' : 'ok';
  if (judged === undefined) {
    const text = `${name}: asks for no GPU, driver, CUDA or runtime, so there is nothing to choose\n`;
    return {
      json: { name, verdict, choices: [], findings: findings.map(jsonOf) },
      text,
      exitCode: isRefused ? 2 : 0,
    };
  }
  const explanation = explainFit(judged.fit.request, judged.context);
  const choices = isRefused ? [] : chooseTopics(explanation, topics);
  const matrix =
    wantsMatrix || html !== undefined ? makeMatrix(judged.fit.request, judged.context) : undefined;
  if (matrix !== undefined && html !== undefined) await writePage(context, html, name, judged, matrix, facts);
  const shown = renderFindings(findings, {
    palette: createPalette(false),
    cwd: context.cwd,
    verbose: context.verbose,
  });
  const parts = [
    wantsMatrix && matrix !== undefined
      ? renderMatrix(matrix)
      : renderExplanation(name, explanation, choices),
    ...(findings.length === 0 ? [] : [shown]),
    ...(html === undefined ? [] : [`The table is in ${html}.\n`]),
  ];
  return {
    json: {
      name,
      verdict,
      byFacts: facts,
      factsDigest: judged.context.facts.digest,
      choices,
      ...(explanation.byFacts !== undefined && { factsWouldChoose: explanation.byFacts }),
      findings: findings.map(jsonOf),
      ...(matrix !== undefined && { matrix }),
    },
    text: parts.join('\n'),
    exitCode: isRefused ? 2 : 0,
  };
}

function jsonOf(finding: Finding): Readonly<Record<string, unknown>> {
  return { suggestions: [], sources: [], ...findingToJson(finding) };
}

const TOPICS: readonly string[] = ['gpus', 'driver', 'modules', 'kernel', 'cuda', 'runtime'];

/**
 * The choices that some topics are about; without topics all of them.
 *
 * @throws IngotError USAGE for a topic that there is not
 */
function chooseTopics({ choices }: Explanation, topics: readonly string[]): readonly ChoiceExplanation[] {
  if (topics.length === 0) return choices;
  for (const topic of topics) {
    if (!choices.some((choice) => isAbout(choice, topic))) throw unknownTopic(topic, choices);
  }
  return choices.filter((choice) => topics.some((topic) => isAbout(choice, topic)));
}

function isAbout({ topic: own, name }: ChoiceExplanation, topic: string): boolean {
  return own === topic || name === topic;
}

function unknownTopic(topic: string, choices: readonly ChoiceExplanation[]): IngotError {
  if (TOPICS.includes(topic)) {
    return new IngotError('USAGE', `the image has no ${topic} to explain`, {
      hint: 'leave the topic out to see what there is',
    });
  }
  const names = [...TOPICS, ...choices.map(({ name }) => name)];
  const [best] = nearest(topic, names);
  return new IngotError('USAGE', `there is no topic ${JSON.stringify(topic)}`, {
    hint: best === undefined ? `topics: ${[...new Set(names)].join(', ')}` : `did you mean ${best}?`,
  });
}

/** @throws IngotError ENVIRONMENT when the file cannot be written */
async function writePage(
  { cwd }: CommandContext,
  file: string,
  name: string,
  { context }: Pick<JudgedImage, 'context'>,
  matrix: Matrix,
  byFacts: boolean,
): Promise<void> {
  const page = renderMatrixPage({
    name,
    basis: basisOf(context, byFacts),
    facts: context.facts.digest,
    matrix,
  });
  try {
    await writeFile(resolve(cwd, file), page);
  } catch (error) {
    throw new IngotError('USAGE', `cannot write ${file}`, {
      hint: 'name a file in a folder that exists and can be written',
      cause: error,
    });
  }
}

function basisOf({ now }: FitContext, byFacts: boolean): string {
  return `judged by ${byFacts ? 'the facts alone' : 'what the layers offer'} on ${now}`;
}
