/** What stands on what, for programs that draw: Graphviz's DOT, and Mermaid, which forges render. */

export const GRAPH_FORMATS = ['dot', 'mermaid'] as const;
export type GraphFormat = (typeof GRAPH_FORMATS)[number];

export interface GraphStep {
  readonly name: string;
  readonly needs: readonly string[];
  readonly cached: boolean;
  /** A line below the name. */
  readonly detail: string;
}

export function renderGraph(steps: readonly GraphStep[], format: GraphFormat): string {
  const direct = steps.map((step) => ({ ...step, needs: directNeeds(step, steps) }));
  return format === 'dot' ? renderDot(direct) : renderMermaid(direct);
}

/** A layer names all that is below it; what those stand on themselves need not be drawn again. */
function directNeeds(step: GraphStep, steps: readonly GraphStep[]): readonly string[] {
  const through = new Set(
    step.needs.flatMap((name) => steps.find((other) => other.name === name)?.needs ?? []),
  );
  return step.needs.filter((name) => !through.has(name));
}

function renderDot(steps: readonly GraphStep[]): string {
  const quote = (text: string): string => JSON.stringify(text);
  return [
    'digraph plan {',
    '  rankdir=BT; node [shape=box, style="rounded,filled", fontname="sans-serif"];',
    ...steps.map(({ name, detail, cached }) => {
      const look = cached ? 'fillcolor="#eef1f5"' : 'fillcolor="#cfe2ff", penwidth=2';
      return `  ${quote(name)} [label=${quote(`${name}\n${detail}`)}, ${look}];`;
    }),
    ...steps.flatMap(({ name, needs }) => needs.map((need) => `  ${quote(name)} -> ${quote(need)};`)),
    '}',
    '',
  ].join('\n');
}

function renderMermaid(steps: readonly GraphStep[]): string {
  const id = (name: string): string => `step${steps.findIndex((step) => step.name === name)}`;
  const text = (words: string): string => words.replaceAll('"', '#quot;');
  return [
    'flowchart BT',
    ...steps.map(
      ({ name, detail, cached }) =>
        `  ${id(name)}["${text(name)}<br>${text(detail)}"]${cached ? '' : ':::build'}`,
    ),
    ...steps.flatMap(({ name, needs }) => needs.map((need) => `  ${id(name)} --> ${id(need)}`)),
    '  classDef build stroke-width:3px',
    '',
  ].join('\n');
}
