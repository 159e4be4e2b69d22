/** `ingot validate`: everything that is wrong with some declarations, without building anything. */
import { Command } from 'commander';

import type { Finding } from '../../errors.ts';
import { createPalette } from '../../report/palette.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { findingsOfFile, openCatalog } from '../load-image.ts';
import { declarationsAmong } from '../load-lock.ts';
import { findingToJson, renderFindings } from '../render-error.ts';

type Verdict = 'ok' | 'warning' | 'refused';

export function validateCommand(bind: Bind): Command {
  return new Command('validate')
    .description('check declarations, with all their variants')
    .argument('<file...>', 'declarations, such as images/debian-minimal.yaml')
    .addHelpText(
      'after',
      `
Needs neither root nor network. Ends with 0 when every file can be used, with 2 when one is refused.

Examples:
  ingot validate images/debian-minimal.yaml
  ingot validate images/*.yaml --json | jq .verdict
`,
    )
    .action(bind(validateFiles));
}

async function validateFiles(context: CommandContext, files: readonly string[]): Promise<CommandResult> {
  const declarations = declarationsAmong(files);
  const catalog = await openCatalog(context, declarations);
  const results: { readonly file: string; readonly findings: readonly Finding[] }[] = [];
  for (const file of declarations) {
    results.push({ file, findings: await findingsOfFile(context, file, catalog) });
  }
  const findings = results.flatMap((result) => result.findings);
  const verdict = verdictOf(findings);
  return {
    json: {
      verdict,
      files: results.map((result) => ({ file: result.file, verdict: verdictOf(result.findings) })),
      findings: findings.map((finding) => ({ suggestions: [], ...findingToJson(finding) })),
    },
    text: results
      .map(({ file, findings: own }) =>
        own.length === 0
          ? `${file}: ok\n`
          : renderFindings(own, {
              palette: createPalette(false),
              cwd: context.cwd,
              verbose: context.verbose,
            }),
      )
      .join(''),
    exitCode: verdict === 'refused' ? 2 : 0,
  };
}

function verdictOf(findings: readonly Finding[]): Verdict {
  if (findings.some(({ severity }) => severity === 'error')) return 'refused';
  return findings.length > 0 ? 'warning' : 'ok';
}
