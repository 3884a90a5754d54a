import { EndpointsError } from '../../spec/errors.ts';

/** A place in a list, as text that clients hand back without looking into it. */
export function encodeCursor(place: string): string {
  return Buffer.from(place, 'utf8').toString('base64url');
}

/** @throws EndpointsError VALIDATION_FAILED for text no list has given out */
export function decodeCursor(cursor: string): string {
  const place = Buffer.from(cursor, 'base64url').toString('utf8');
  if (encodeCursor(place) !== cursor || !/^[\x21-\x7e]+$/.test(place))
    throw new EndpointsError('VALIDATION_FAILED', 'cursor: is not one that a list of this API has given out');
  return place;
}
