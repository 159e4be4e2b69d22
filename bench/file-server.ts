/** Files of a folder over HTTP on loopback, for programs that fetch from a web server; what it sends is counted. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { join, normalize } from 'node:path';
import { pipeline } from 'node:stream/promises';

export class FileServer implements AsyncDisposable {
  readonly url: string;
  /** Of files, since the start. */
  sentBytes = 0;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(folder: string): Promise<FileServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new TypeError('a port');
    const files = new FileServer(server, address.port);
    server.on('request', ({ url = '/' }, response) => {
      // The programs that are measured ask for what they have read in it.
      const path = join(folder, normalize(decodeURIComponent(url.split('?')[0] ?? '/')));
      void files.#send(path, response);
    });
    return files;
  }

  async #send(path: string, response: ServerResponse): Promise<void> {
    const status = await stat(path).catch(() => undefined);
    if (status?.isFile() !== true) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-length': status.size });
    this.sentBytes += status.size;
    // Who asked may have gone.
    await pipeline(createReadStream(path), response).catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }
}
