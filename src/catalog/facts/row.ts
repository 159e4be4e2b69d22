/** What every statement of the facts has. */
import type { Location } from '../../errors.ts';

export type Confidence = 'high' | 'medium' | 'low';

/** Where a statement comes from. */
export interface Source {
  /** Its key in the file's `sources`. */
  readonly key: string;
  readonly title: string;
  readonly url?: string;
}

/** What every row has. */
export interface Row {
  readonly sources: readonly Source[];
  readonly confidence: Confidence;
  readonly note?: string;
  readonly location: Location;
}

/** `vendor:device` in lower-case hex, such as `10de:2330`. */
export type PciId = string;

export type CpuArchitecture = 'amd64' | 'arm64';

/** `supported`: gets fixes. `preview`: not meant for production. `unknown`: not stated; treat with care. */
export type SupportStatus = 'supported' | 'eol' | 'unknown' | 'preview';
