/**
 * Cron expressions as scaling schedules take them: minute, hour, day of month, month, day of week. A day matches when both
 * of its fields do, as Temporal reads it.
 */

interface Field {
  name: string;
  least: number;
  most: number;
  /** Words for the numbers from `least` on. */
  words?: readonly string[];
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const FIELDS: readonly Field[] = [
  { name: 'minute', least: 0, most: 59 },
  { name: 'hour', least: 0, most: 23 },
  { name: 'day of month', least: 1, most: 31 },
  { name: 'month', least: 1, most: 12, words: MONTHS },
  { name: 'day of week', least: 0, most: 7, words: DAYS },
];
/** Most days a month can have, by its number. */
const LONGEST = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** What is wrong with a cron expression, in words; null when nothing is. */
export function cronProblem(text: string): string | null {
  const parts = text.trim().split(/\s+/);
  if (parts.length !== FIELDS.length)
    return `not five fields: minute, hour, day of month, month, day of week, such as '30 8 * * mon-fri'`;
  const values: number[][] = [];
  for (const [i, field] of FIELDS.entries()) {
    const read = readField(parts[i] ?? '', field);
    if (typeof read === 'string') return `${field.name}: ${read}`;
    values.push(read);
  }
  const [, , days = [], months = []] = values;
  const ever = months.some((month) => days.some((day) => day <= (LONGEST[month - 1] ?? 31)));
  return ever ? null : 'it names a day that no such month has, so it would never fire';
}

/** The values a field names, or what is wrong with it. */
function readField(text: string, field: Field): number[] | string {
  const values: number[] = [];
  for (const part of text.split(',')) {
    const [, range = '', step] = part.match(/^([^/]+)(?:\/(\d+))?$/) ?? [];
    if (step !== undefined && Number(step) < 1) return `'${part}' has the step 0`;
    const [from, to, ...rest] = range.split('-');
    if (rest.length > 0) return notUnderstood(part);
    const single = range === '*' ? field.least : numberOf(from ?? '', field);
    const last = range === '*' ? field.most : to === undefined ? single : numberOf(to, field);
    if (single === null || last === null) return notUnderstood(part);
    for (const value of [single, last])
      if (value < field.least || value > field.most)
        return `${value} is not within ${field.least} to ${field.most}`;
    if (last < single) return `'${range}' ends before it begins`;
    // As everywhere, '5/15' is every 15 from 5 on.
    const end = step !== undefined && to === undefined ? field.most : last;
    for (let value = single; value <= end; value += Number(step ?? 1)) values.push(value);
  }
  return values;
}

function numberOf(text: string, { least, words }: Field): number | null {
  const word = words?.indexOf(text.toLowerCase()) ?? -1;
  if (word >= 0) return word + least;
  return /^\d{1,2}$/.test(text) ? Number(text) : null;
}

const notUnderstood = (part: string) =>
  `'${part}' is not understood: use numbers, lists (1,2), ranges (1-5) and steps (*/15)`;

/** What is wrong with a time zone's name, in words; null when nothing is. */
export function timeZoneProblem(name: string): string | null {
  const unknown = `unknown time zone: use a name of the IANA database, such as 'Europe/Berlin' or 'UTC'`;
  if (!/^[A-Za-z][\w+-]*(?:\/[A-Za-z][\w+-]*)*$/.test(name)) return unknown;
  try {
    const { timeZone } = new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions();
    // Elsewhere the names are files, and their case matters.
    const same = timeZone.toLowerCase() === name.toLowerCase();
    return same && timeZone !== name ? `unknown time zone: it is written '${timeZone}'` : null;
  } catch {
    return unknown;
  }
}
