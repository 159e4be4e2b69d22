/** What `push`, `pull` and `copy` print. */
import { formatBytes, formatCount } from '../report/format.ts';
import type { Transferred } from '../publish/transfer.ts';
import type { CommandResult } from './context.ts';

export function renderTransfers(transfers: readonly Transferred[]): CommandResult {
  return {
    json: {
      images: transfers.map(
        ({ ref, names, digest, mediaType, bytes, blobs, sent, sentBytes, mounted, referrers, signed }) => ({
          ref,
          names,
          digest,
          mediaType,
          bytes,
          blobs,
          sent,
          sentBytes,
          mounted,
          referrers,
          ...(signed !== undefined && { signed }),
        }),
      ),
    },
    text: transfers
      .flatMap(({ ref, digest, bytes, sent, sentBytes, mounted, referrers, signed }) => [
        `${ref}  ${formatBytes(bytes)}, ${sent === 0 ? 'everything was there' : `${formatBytes(sentBytes)} sent`}${
          mounted === 0 ? '' : `, ${formatCount(mounted, 'blob')} taken over`
        }${referrers.length === 0 ? '' : `, with ${formatCount(referrers.length, 'referrer')}`}`,
        digest,
        ...(signed === undefined ? [] : [`signed with the key ${signed.key}`]),
      ])
      .join('\n'),
  };
}
