import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

/** A registry by the distribution protocol, on loopback, with one small image; Docker pulls from it as from any other. */
export class TestRegistry {
  readonly image: string;
  readonly host: string;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.image = `${this.host}/team/tiny:1`;
  }

  /** `login` makes it private. The layer arrives in pieces over about half a second. */
  static async start(login?: { username: string; password: string }): Promise<TestRegistry> {
    const content = buildImage();
    const expected =
      login && `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
    const server = createServer((request, response) => {
      const url = request.url ?? '';
      const fail = (status: number, code: string) =>
        response
          .writeHead(status, { 'content-type': 'application/json' })
          .end(JSON.stringify({ errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] }));
      if (expected && request.headers.authorization !== expected) {
        response.setHeader('www-authenticate', 'Basic realm="test"');
        fail(401, 'UNAUTHORIZED');
      } else if (url === '/v2/') {
        response.end('{}');
      } else if (url.includes('/manifests/')) {
        const wanted = url.split('/').at(-1);
        if (!url.startsWith('/v2/team/tiny/') || (wanted !== '1' && wanted !== content.manifestDigest)) {
          fail(404, 'MANIFEST_UNKNOWN');
          return;
        }
        response.setHeader('content-type', 'application/vnd.docker.distribution.manifest.v2+json');
        response.setHeader('docker-content-digest', content.manifestDigest);
        // Docker asks by HEAD first and wants the length of what it would get.
        response.setHeader('content-length', content.manifest.length);
        response.end(content.manifest);
      } else {
        const blob = content.blobs.get(url.split('/').at(-1) ?? '');
        if (blob) void sendSlowly(response, blob);
        else fail(404, 'BLOB_UNKNOWN');
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new TestRegistry(server);
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

async function sendSlowly(response: ServerResponse, blob: Buffer): Promise<void> {
  response.setHeader('content-length', blob.length);
  const piece = Math.ceil(blob.length / 4);
  for (let at = 0; at < blob.length; at += piece) {
    response.write(blob.subarray(at, at + piece));
    await sleep(120);
  }
  response.end();
}

function buildImage() {
  const tar = tarOf('file', randomBytes(3_000_000));
  const layer = gzipSync(tar, { level: 1 });
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: { Cmd: ['/file'] },
      rootfs: { type: 'layers', diff_ids: [digest(tar)] },
      history: [{ created: '2026-01-01T00:00:00Z' }],
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: {
        mediaType: 'application/vnd.docker.container.image.v1+json',
        size: config.length,
        digest: digest(config),
      },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
          size: layer.length,
          digest: digest(layer),
        },
      ],
    }),
  );
  const blobs = new Map([
    [digest(config), config],
    [digest(layer), layer],
  ]);
  return { manifest, manifestDigest: digest(manifest), blobs };
}

function digest(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A ustar archive with one file. */
export function tarOf(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write('0000755\0', 100);
  header.write('0000000\0', 108);
  header.write('0000000\0', 116);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  return Buffer.concat([header, content, padding, Buffer.alloc(1024)]);
}
