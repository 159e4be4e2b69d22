/** A layer's plain archive, whatever it is compressed with. */
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

import { verifiedChunks } from './blob.ts';
import { type Descriptor, MEDIA_TYPES } from './schema.ts';
import { decompressZstd } from './zstd-frames.ts';

/**
 * The plain bytes of the layer blob at `path`, which is verified on the way: the last step throws when it is not
 * what the descriptor says. What a decompressor says of damaged data is thrown as it is.
 */
export function layerContents(path: string, layer: Descriptor): AsyncIterable<Buffer> {
  return decompressLayer(verifiedChunks(path, layer), layer.mediaType);
}

/** The same from wherever the blob comes. */
export function decompressLayer(blob: AsyncIterable<Buffer>, mediaType: string): AsyncIterable<Buffer> {
  switch (mediaType) {
    case MEDIA_TYPES.layerZstd:
      return decompressZstd(blob);
    case MEDIA_TYPES.layerGzip:
      // Errors reach the reader through the destroyed stream.
      return pipeline(Readable.from(blob), createGunzip({ chunkSize: 256 * 1024 }), () => undefined);
    default:
      return blob;
  }
}
