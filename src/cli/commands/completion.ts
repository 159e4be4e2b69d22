/** `ingot completion`: a script for the user's shell, generated from the commands themselves. */
import { Argument, Command } from 'commander';

import { COMMANDS } from '../commands.ts';
import type { Bind } from '../context.ts';
import { createRootCommand } from '../root-command.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

export function completionCommand(bind: Bind): Command {
  return new Command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .addHelpText(
      'after',
      `
Examples:
  source <(ingot completion bash)                                 now, in this shell
  ingot completion bash > /etc/bash_completion.d/ingot            for every bash
  ingot completion zsh > "\${fpath[1]}/_ingot"                     for zsh
  ingot completion fish > ~/.config/fish/completions/ingot.fish   for fish
`,
    )
    .action(
      bind(async (_context, shell: Shell) => {
        const script = await renderCompletion(shell);
        return { json: { shell, script }, text: script };
      }),
    );
}

async function renderCompletion(shell: Shell): Promise<string> {
  const { describeCommands } = await import('../completion/describe.ts');
  const program = createRootCommand();
  const describeOnly: Bind = () => () => Promise.resolve();
  for (const load of COMMANDS.values()) program.addCommand((await load())(describeOnly));
  const commands = describeCommands(program);
  switch (shell) {
    case 'bash':
      return (await import('../completion/bash.ts')).renderBashCompletion(commands);
    case 'zsh':
      return (await import('../completion/zsh.ts')).renderZshCompletion(commands);
    case 'fish':
      return (await import('../completion/fish.ts')).renderFishCompletion(commands);
  }
}
