import { expect, test } from 'vitest';

import { renderGraph } from './plan-graph.ts';

const STEPS = [
  { name: 'base', needs: [], cached: true, detail: 'in the store, 71 MiB' },
  { name: 'kernel', needs: ['base'], cached: true, detail: 'in the store, 33 MiB' },
  { name: 'a "driver"', needs: ['base', 'kernel'], cached: false, detail: 'to build' },
];

test('DOT: each step once, on what it stands on itself', () => {
  expect(renderGraph(STEPS, 'dot').split('\n').slice(2)).toEqual([
    '  "base" [label="base\\nin the store, 71 MiB", fillcolor="#eef1f5"];',
    '  "kernel" [label="kernel\\nin the store, 33 MiB", fillcolor="#eef1f5"];',
    '  "a \\"driver\\"" [label="a \\"driver\\"\\nto build", fillcolor="#cfe2ff", penwidth=2];',
    '  "kernel" -> "base";',
    '  "a \\"driver\\"" -> "kernel";',
    '}',
    '',
  ]);
});

test('Mermaid: names are texts, not syntax', () => {
  expect(renderGraph(STEPS, 'mermaid').split('\n')).toEqual([
    'flowchart BT',
    '  step0["base<br>in the store, 71 MiB"]',
    '  step1["kernel<br>in the store, 33 MiB"]',
    '  step2["a #quot;driver#quot;<br>to build"]:::build',
    '  step1 --> step0',
    '  step2 --> step1',
    '  classDef build stroke-width:3px',
    '',
  ]);
});
