const MB = 1e6;
const GB = 1e9;

/** Progress as the endpoint's status shows it, such as `downloading 43 of 98 MB`. */
export function progressText({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }): string {
  if (totalBytes >= 10 * GB)
    return `downloading ${(doneBytes / GB).toFixed(1)} of ${(totalBytes / GB).toFixed(1)} GB`;
  const total = Math.max(1, Math.round(totalBytes / MB));
  return `downloading ${Math.min(total, Math.floor(doneBytes / MB))} of ${total} MB`;
}

/** A size for a person. */
export function sizeText(bytes: number): string {
  if (bytes >= 10 * GB) return `${(bytes / GB).toFixed(1)} GB`;
  if (bytes >= MB) return `${(bytes / MB).toFixed(1)} MB`;
  return `${Math.ceil(bytes / 1000)} kB`;
}
