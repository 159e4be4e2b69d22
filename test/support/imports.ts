/** What a TypeScript file says about other modules and about the machine, for the architecture test. */
import ts from 'typescript';

export interface SourceFacts {
  /** Module specifiers of imports, re-exports, dynamic imports and `import()` types, in order. */
  readonly imports: readonly string[];
  /** Those that load the module when the file runs: all but types. */
  readonly loads: readonly string[];
  readonly hasDefaultExport: boolean;
  /** Uses of what a pure module may not ask: the clock, chance, the process. */
  readonly impurities: readonly string[];
  readonly lines: number;
}

const known = new Map<string, SourceFacts>();

/** The same text is parsed once: a module is asked for by each that loads it. */
export function readSourceFacts(fileName: string, text: string): SourceFacts {
  const key = `${fileName}\0${text}`;
  const facts = known.get(key) ?? parseSourceFacts(fileName, text);
  known.set(key, facts);
  return facts;
}

function parseSourceFacts(fileName: string, text: string): SourceFacts {
  const source = ts.createSourceFile(fileName, text, ts.ScriptTarget.ESNext, true);
  const imports: string[] = [];
  const loads: string[] = [];
  const impurities: string[] = [];
  let hasDefaultExport = false;

  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    if (specifier !== undefined) {
      imports.push(specifier);
      if (!isTypeOnly(node)) loads.push(specifier);
    }
    hasDefaultExport ||= isDefaultExport(node);
    const impurity = impurityOf(node);
    if (impurity !== undefined) impurities.push(impurity);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { imports, loads, hasDefaultExport, impurities, lines: text.replace(/\n$/, '').split('\n').length };
}

function specifierOf(node: ts.Node): string | undefined {
  const literal =
    ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
        ? node.arguments[0]
        : ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
          ? node.argument.literal
          : undefined;
  return literal !== undefined && ts.isStringLiteralLike(literal) ? literal.text : undefined;
}

/** With `verbatimModuleSyntax`, only what is written `import type` or `export type` is not loaded. */
function isTypeOnly(node: ts.Node): boolean {
  if (ts.isImportTypeNode(node)) return true;
  if (ts.isExportDeclaration(node)) return node.isTypeOnly;
  return ts.isImportDeclaration(node) && node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
}

function isDefaultExport(node: ts.Node): boolean {
  if (ts.isExportAssignment(node)) return true;
  if (ts.isExportSpecifier(node)) return node.name.text === 'default';
  const modifiers = ts.canHaveModifiers(node) ? (ts.getModifiers(node) ?? []) : [];
  return modifiers.some((modifier) => modifier.kind === ts.SyntaxKind.DefaultKeyword);
}

/** `Date.now`, `Math.random`, `new Date()` without a time, `performance`, `process`, `crypto`, `fetch`, timers. */
function impurityOf(node: ts.Node): string | undefined {
  if (
    ts.isNewExpression(node) &&
    node.expression.getText() === 'Date' &&
    (node.arguments?.length ?? 0) === 0
  ) {
    return 'new Date()';
  }
  if (ts.isCallExpression(node) && node.expression.getText() === 'Date') return 'Date()';
  if (ts.isPropertyAccessExpression(node)) {
    const text = node.getText();
    if (text === 'Date.now' || text === 'Math.random') return text;
  }
  if (!ts.isIdentifier(node) || !isFreeName(node)) return undefined;
  return AMBIENT.has(node.text) ? node.text : undefined;
}

const AMBIENT: ReadonlySet<string> = new Set([
  'process',
  'performance',
  'crypto',
  'fetch',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'globalThis',
]);

/** Neither a member's name (`x.process`, `{process: 1}`), nor declared here. */
function isFreeName(node: ts.Identifier): boolean {
  const { parent } = node;
  const isMember =
    (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
    (ts.isPropertyAssignment(parent) && parent.name === node) ||
    ts.isPropertySignature(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isPropertyDeclaration(parent);
  const isDeclared =
    ts.isParameter(parent) ||
    ts.isBindingElement(parent) ||
    ts.isVariableDeclaration(parent) ||
    ts.isFunctionDeclaration(parent) ||
    ts.isImportSpecifier(parent);
  return !isMember && !isDeclared;
}
