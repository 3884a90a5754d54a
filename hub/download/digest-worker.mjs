// Hashes files from disk behind a download, on a thread of its own so that receiving does not wait for it. Plain
// JavaScript: a worker is started by the runtime, which may know nothing of TypeScript.
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

const buffer = Buffer.allocUnsafe(1 << 20);
const jobs = new Map();

parentPort.on('message', ({ id, type, ...message }) => {
  if (type === 'open') jobs.set(id, { fd: null, hash: createHash(message.algorithm), at: 0, error: null });
  const job = jobs.get(id);
  if (!job) return;
  if (!job.error) {
    try {
      if (type === 'open') open(job, message);
      if (type === 'advance') advance(job, message.to);
    } catch (error) {
      job.error = String(error?.message ?? error);
    }
  }
  if (type === 'finish') parentPort.postMessage({ id, hex: job.hash.digest('hex'), error: job.error });
  if (type === 'finish' || type === 'close') {
    if (job.fd !== null) closeSync(job.fd);
    jobs.delete(id);
  }
});

function open(job, { path, prefix }) {
  job.hash.update(prefix);
  job.fd = openSync(path, 'r');
}

function advance(job, to) {
  while (job.at < to) {
    const read = readSync(job.fd, buffer, 0, Math.min(buffer.length, to - job.at), job.at);
    if (read === 0) throw new Error(`the file ends at ${job.at} of ${to}`);
    job.hash.update(buffer.subarray(0, read));
    job.at += read;
  }
}
