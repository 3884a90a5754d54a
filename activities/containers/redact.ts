/** Shorter values are words of ordinary text: taking them out would leave no log to read, and they protect nothing. */
const MIN_SECRET_LENGTH = 4;
const MASK = '[secret]';

/**
 * Replaces every secret in `text`, also the forms in which programs print one: escaped as JSON, percent-encoded, or a
 * multi-line value line by line.
 */
export function redact(text: string, secrets: readonly string[]): string {
  const forms = new Set<string>();
  for (const secret of secrets) {
    for (const part of [secret, ...secret.split(/\r?\n/)]) {
      if (part.trim().length < MIN_SECRET_LENGTH) continue;
      forms.add(part);
      forms.add(JSON.stringify(part).slice(1, -1));
      forms.add(encodeURIComponent(part));
    }
  }
  // The longest first, so that a secret that contains another one leaves no rest.
  const ordered = [...forms].sort((a, b) => b.length - a.length);
  return ordered.reduce((result, form) => result.replaceAll(form, MASK), text);
}
