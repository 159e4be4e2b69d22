/**
 * Pages that need nothing else: one file, no script, nothing from elsewhere. Readable on a phone, in light and dark, on
 * paper, and without colours or a mouse.
 */

const STYLE = `
:root { color-scheme: light dark; --ink: #1a1c20; --paper: #ffffff; --soft: #5b616b; --line: #d5d9df; --head: #f3f5f8; --mark: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ed; --paper: #14161a; --soft: #a2a9b5; --line: #353a43; --head: #1d2026;
  --mark: #8ab8ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; }
p { margin: 0 0 .75rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
.scroll:focus-visible, a:focus-visible, summary:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .625rem .75rem; font-weight: 600; }
th, td { padding: .4rem .625rem; border-top: 1px solid var(--line); }
thead th { background: var(--head); font-size: .8125rem; }
code { font-family: ui-monospace, monospace; font-size: .875em; overflow-wrap: anywhere; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media print { .scroll { overflow: visible; } body { max-width: none; } }
`;

export interface Page {
  readonly title: string;
  /** Beside the style that all pages have. */
  readonly style: string;
  /** HTML; whatever somebody else chose in it went through `escapeHtml`. */
  readonly body: string;
}

export function renderPage({ title, style, body }: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}${style}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
${body}
</main>
</body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
