import { sql } from 'kysely';
import type { Answers } from '../spec/lifecycle.ts';
import type { Store } from './database.ts';

/** One living replica's answers, as one gateway counted them. */
export interface CountedAnswers extends Answers {
  gatewayId: string;
  replicaId: string;
  number: number;
  revision: number;
}

/** The same, and whose it is. */
export interface FailingAnswers extends CountedAnswers {
  namespace: string;
  name: string;
}

const counted = sql`
  l.gateway_id AS "gatewayId", r.id AS "replicaId", r.number, r.revision,
  (a.counts ->> 'answers')::bigint AS answers, (a.counts ->> 'errors')::bigint AS errors,
  (a.counts ->> 'failing')::boolean AS failing`;
const living = sql`
  gateway_load l CROSS JOIN LATERAL jsonb_each(l.answers) AS a(replica_id, counts)
  JOIN replicas r ON r.id = a.replica_id AND r.stopped_at IS NULL`;

/** How the replicas of one endpoint have answered. */
export async function answersOf(store: Store, endpointId: string): Promise<CountedAnswers[]> {
  const { rows } = await sql<CountedAnswers>`
    SELECT ${counted} FROM ${living} WHERE l.endpoint_id = ${endpointId}`.execute(store);
  return rows;
}

/**
 * How the replicas of those endpoints answer of which some gateway that lives puts one last for its errors; mostly
 * none.
 */
export async function answersWhereOneFails(store: Store): Promise<FailingAnswers[]> {
  const { rows } = await sql<FailingAnswers>`
    SELECT e.namespace, e.name, ${counted}
    FROM ${living} JOIN endpoints e ON e.id = l.endpoint_id JOIN gateways g ON g.id = l.gateway_id
    WHERE g.seen_at > now() - interval '10 seconds' AND l.endpoint_id IN (
      SELECT f.endpoint_id FROM gateway_load f WHERE jsonb_path_exists(f.answers, '$.*.failing ? (@ == true)'))`.execute(
    store,
  );
  return rows;
}
