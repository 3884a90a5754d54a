import { partialBytes } from '../../hub/download/partial.ts';
import type { PlacedFile } from './layout.ts';
import { absentFiles } from './snapshot.ts';
import { progressText } from './text.ts';

const HEARTBEAT_MS = 2000;
/** How often progress is told to readers, at most. */
const REPORT_MS = 1000;

export interface ProgressWatch {
  /** The download says how far it is. */
  set(doneBytes: number): void;
  stop(): void;
}

/**
 * Tells how far the files are: to Temporal in heartbeats, to readers in words. It does so by the clock, not by the bytes,
 * so that a slow moment is not taken for a dead host; a transfer that really hangs is cut by the download itself. While
 * another attempt or another replica does the downloading, the disk says how far it is.
 */
export function watchProgress(
  blobs: readonly PlacedFile[],
  to: {
    heartbeat: (details: { doneBytes: number; totalBytes: number }) => void;
    report: (message: string) => void;
  },
): ProgressWatch {
  const total = totalBytes(blobs);
  let own: number | null = null;
  let onDisk = 0;
  let said = '';
  const current = () => ({ doneBytes: own ?? onDisk, totalBytes: total });
  const say = () => {
    const text = progressText(current());
    if (text !== said) to.report(text);
    said = text;
  };
  const look = async () => {
    if (own !== null) return;
    const absent = await absentFiles(blobs, ({ blob }) => blob);
    onDisk = total - totalBytes(absent) + (await receivedBytes(absent));
  };
  const tell = () => {
    // A file that vanishes while it is looked at was renamed: the next look finds it.
    look().then(say, say);
  };
  const beat = () => to.heartbeat(current());
  tell();
  beat();
  const timers = [setInterval(tell, REPORT_MS), setInterval(beat, HEARTBEAT_MS)];
  return {
    set(doneBytes) {
      own = doneBytes;
    },
    stop() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}

export function totalBytes(files: readonly PlacedFile[]): number {
  return files.reduce((sum, { file }) => sum + file.sizeBytes, 0);
}

/** Bytes that interrupted or running downloads of these files have on disk. */
export async function receivedBytes(files: readonly PlacedFile[]): Promise<number> {
  const received = await Promise.all(files.map(({ blob }) => partialBytes(blob)));
  return received.reduce((sum, bytes) => sum + bytes, 0);
}
