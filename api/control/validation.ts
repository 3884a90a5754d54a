import type { FastifySchemaCompiler } from 'fastify';
import type { z } from 'zod';
import { EndpointsError } from '../../spec/errors.ts';

const MAX_ISSUES = 8;
const MAX_SHOWN = 80;
const MAX_DEPTH = 32;
/** Values below these are never repeated in an answer. */
const SECRET_PATH = /(?:^|\.)(?:secrets|credentials|env)(?:\.|$)/;

/**
 * Checks a part of a request against its zod schema. A refusal names every field that is wrong, what is wrong with it,
 * and the value it has.
 */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> = ({ schema, httpPart }) => {
  return (data: unknown) => {
    const unstorable = httpPart === 'headers' ? null : findUnstorable(data);
    if (unstorable) return { error: new EndpointsError('VALIDATION_FAILED', unstorable) };
    const parsed = schema.safeParse(data);
    if (parsed.success) return { value: parsed.data };
    const issues = parsed.error.issues.flatMap(flatten).map((issue) => describe(issue, data));
    const shown = [...new Set(issues)].slice(0, MAX_ISSUES).join('; ');
    return { error: new EndpointsError('VALIDATION_FAILED', shown) };
  };
};

interface Issue {
  path: PropertyKey[];
  message: string;
}

/** Of a union only the alternative that was nearest to fitting is worth telling. */
function flatten(issue: z.core.$ZodIssue): Issue[] {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [issue];
  const nearest = issue.errors.reduce((best, other) => (other.length < best.length ? other : best));
  return nearest.flatMap(flatten).map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
}

function describe(issue: Issue, data: unknown): string {
  const path = issue.path.map(String).join('.');
  const value = issue.path.reduce<unknown>(
    (node, key) =>
      typeof node === 'object' && node !== null ? (node as Record<PropertyKey, unknown>)[key] : undefined,
    data,
  );
  const field = path || 'body';
  if (value === undefined || (value === null && path === ''))
    return `${field}: is missing (${issue.message})`;
  if (SECRET_PATH.test(path) || typeof value === 'object') return `${field}: ${issue.message}`;
  return `${field}: ${issue.message} (got ${shorten(JSON.stringify(value))})`;
}

function shorten(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

/**
 * Text that is valid JSON but cannot be kept in the database or handed to a container: NUL, half a surrogate pair; and
 * nesting that no honest body has. Null when there is none.
 */
function findUnstorable(value: unknown, path = '', depth = 0): string | null {
  if (typeof value === 'string') {
    const bad = value.includes('\0') || /\p{Surrogate}/u.test(value);
    return bad ? `${path || 'body'}: holds a NUL or a broken character` : null;
  }
  if (typeof value !== 'object' || value === null) return null;
  if (depth > MAX_DEPTH) return `${path.slice(0, MAX_SHOWN)}: is nested more than ${MAX_DEPTH} levels deep`;
  for (const [key, inner] of Object.entries(value)) {
    const found =
      findUnstorable(key, `${path || 'body'} (a key)`) ??
      findUnstorable(inner, path ? `${path}.${key}` : key, depth + 1);
    if (found) return found;
  }
  return null;
}
