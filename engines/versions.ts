/** The tag of an image reference; `latest` when it has none, null when it is pinned by digest alone. */
export function tagOf(url: string): string | null {
  const [reference = '', digest] = url.split('@');
  const tag = /:(?<tag>[^:/]+)$/.exec(reference)?.groups?.tag;
  return tag ?? (digest === undefined ? 'latest' : null);
}

/**
 * Whether the image is of at least this version, by its tag: `v0.27.1`, `0.27.1-x86_64`, `latest`. A tag that says no
 * version may be of any age: then the answer is no, and the caller takes what every version understands.
 */
export function atLeast(url: string, major: number, minor: number): boolean {
  const tag = tagOf(url) ?? '';
  if (/^(latest|nightly)(-|$)/.test(tag)) return true;
  const found = /^v?(?<major>\d{1,3})\.(?<minor>\d{1,3})(\D|$)/.exec(tag)?.groups;
  if (!found) return false;
  const [ofMajor, ofMinor] = [Number(found.major), Number(found.minor)];
  return ofMajor > major || (ofMajor === major && ofMinor >= minor);
}

/** Whether the image is a CPU build, by the word in its name or tag: `vllm-openai-cpu`, `3.3.5-intel-cpu`, `cpu-1.9`. */
export function isCpuImage(url: string): boolean {
  return /(^|[-_./:])cpu([-_./:@]|$)/i.test(url);
}
