/**
 * Errors a person can act on.
 *
 * Anything thrown that is not an IngotError is a bug in Ingot and is printed with its stack (exit code 70).
 * `main` alone turns an error into an exit code.
 */

/** Every code a user can meet. Stable: scripts and tests match on it. */
export type ErrorCode =
  // exit code 2: the caller's input
  | 'USAGE'
  | 'SPEC_INVALID'
  | 'CATALOG_INVALID'
  | 'FACTS_INVALID'
  | 'INCOMPATIBLE'
  | 'LOCK_MISSING'
  | 'LOCK_INVALID'
  | 'LOCK_STALE'
  | 'TRUST_INVALID'
  | 'UPDATE_LOCKOUT'
  | 'PACKAGE_UNKNOWN'
  | 'OFFER_STALE'
  | 'PACKAGES_CONFLICT'
  | 'PACKAGE_DOWNLOADS'
  | 'UNIT_UNKNOWN'
  | 'IMAGE_UNKNOWN'
  | 'ARCHITECTURE_FOREIGN'
  | 'IMAGE_UNREADABLE'
  | 'ADVISORIES_UNREADABLE'
  | 'ENVIRONMENT'
  | 'PROVISION_INVALID'
  | 'NODE_UNSUITED'
  // exit code 1: the operation failed
  | 'NOT_ROOT'
  | 'TOOL_MISSING'
  | 'TOOL_FAILED'
  | 'TIMEOUT'
  | 'MIRROR_UNREACHABLE'
  | 'MIRROR_UNTRUSTED'
  | 'PACKAGE_GONE'
  | 'DIGEST_MISMATCH'
  | 'DISK_FULL'
  | 'STORE_CORRUPT'
  | 'BUILD_FAILED'
  | 'LAYER_CONFLICT'
  | 'LINT_FAILED'
  | 'DISK_FAILED'
  | 'INSTALL_REFUSED'
  | 'VM_FAILED'
  | 'HEALTH_FAILED'
  | 'NODE_BUSY'
  | 'NODE_FAILED'
  | 'NODE_UNREACHABLE'
  | 'UPDATE_REFUSED'
  | 'RESTART_NEEDED'
  | 'NOT_FOUND'
  | 'IMAGE_INVALID'
  | 'REGISTRY_UNREACHABLE'
  | 'REGISTRY_DENIED'
  | 'REGISTRY_FAILED'
  | 'SIGNING_FAILED'
  // exit code 130
  | 'INTERRUPTED';

const USAGE_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'USAGE',
  'SPEC_INVALID',
  'CATALOG_INVALID',
  'FACTS_INVALID',
  'INCOMPATIBLE',
  'LOCK_MISSING',
  'LOCK_INVALID',
  'LOCK_STALE',
  'TRUST_INVALID',
  'UPDATE_LOCKOUT',
  'PACKAGE_UNKNOWN',
  'OFFER_STALE',
  'PACKAGES_CONFLICT',
  'PACKAGE_DOWNLOADS',
  'UNIT_UNKNOWN',
  'IMAGE_UNKNOWN',
  'ARCHITECTURE_FOREIGN',
  'IMAGE_UNREADABLE',
  'ADVISORIES_UNREADABLE',
  'ENVIRONMENT',
  'PROVISION_INVALID',
  'NODE_UNSUITED',
]);

/** A place in a text file. `line` and `column` are 1-based. */
export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Where a fact comes from, and the row of the tables that states it. */
export interface FactSource extends Location {
  readonly title: string;
  readonly url?: string;
  readonly confidence: 'high' | 'medium' | 'low';
}

/** One mistake in a user's file. All of a file's mistakes are collected before any is shown. */
export interface Finding {
  readonly code: ErrorCode;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly location?: Location;
  /** What to write instead, best first. */
  readonly suggestions?: readonly string[];
  /** The rule of compatibility that is broken: its stable name. */
  readonly rule?: string;
  readonly sources?: readonly FactSource[];
}

export interface IngotErrorOptions {
  readonly hint?: string;
  readonly location?: Location;
  readonly cause?: unknown;
  /** Last lines of a program's output, for the person reading the failure. */
  readonly output?: string;
}

export class IngotError extends Error {
  override readonly name: string = 'IngotError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly location: Location | undefined;
  readonly output: string | undefined;

  constructor(code: ErrorCode, message: string, options: IngotErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.location = options.location;
    this.output = options.output;
  }
}

/** Several mistakes at once, each with its place. Thrown by everything that parses a user's file. */
export class FindingsError extends IngotError {
  override readonly name = 'FindingsError';
  readonly findings: readonly Finding[];

  constructor(findings: readonly Finding[]) {
    const first = findings.find((finding) => finding.severity === 'error') ?? findings[0];
    if (first === undefined) throw new TypeError('FindingsError needs at least one finding');
    super(first.code, findings.length === 1 ? first.message : `${findings.length} problems found`);
    this.findings = findings;
  }
}

/** 0 fine, 1 operation failed, 2 usage or spec, 70 bug, 130 interrupted. */
export function exitCodeOf(error: unknown): 1 | 2 | 70 | 130 {
  if (!(error instanceof IngotError)) return 70;
  if (error.code === 'INTERRUPTED') return 130;
  return USAGE_CODES.has(error.code) ? 2 : 1;
}

/** The `code` of a Node.js system error such as `ENOENT`, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
