/** What shows events to somebody. Disposed before the result is printed, so that the two never mix. */
import type { ReportSink } from './events.ts';

export interface Renderer extends AsyncDisposable {
  readonly sink: ReportSink;
}
