import { readFileSync } from 'node:fs';
import { createHub, type DownloadRequest } from '../../hub/client.ts';

/** A process that does one download, so that a test can kill it. Argument: endpoint and request as JSON in a file. */
const { endpoint, request } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as {
  endpoint: string;
  request: DownloadRequest;
};
await createHub({ endpoint }).download(request);
