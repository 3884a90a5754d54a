import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    -- One row: the id that tells this installation's containers from another's on the same Docker engine.
    CREATE TABLE installation (id text PRIMARY KEY);
    INSERT INTO installation VALUES (substr(md5(random()::text || clock_timestamp()::text), 1, 8));

    CREATE TABLE namespaces (
      name        text PRIMARY KEY,
      kind        text NOT NULL CHECK (kind IN ('user', 'organization')),
      created_at  timestamptz NOT NULL DEFAULT now()
    );

    CREATE TABLE users (
      id          uuid PRIMARY KEY,
      name        text NOT NULL UNIQUE,
      email       text,
      created_at  timestamptz NOT NULL DEFAULT now()
    );

    CREATE TABLE memberships (
      user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      namespace   text NOT NULL REFERENCES namespaces ON DELETE CASCADE,
      role        text NOT NULL CHECK (role IN ('admin', 'write', 'read')),
      PRIMARY KEY (user_id, namespace)
    );

    -- Only the SHA-256 of a token is kept; last4 lets its owner recognise it.
    CREATE TABLE tokens (
      id          uuid PRIMARY KEY,
      user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
      name        text NOT NULL,
      sha256      bytea NOT NULL UNIQUE,
      last4       text NOT NULL,
      permissions text[] NOT NULL,
      created_at  timestamptz NOT NULL DEFAULT now(),
      expires_at  timestamptz,
      revoked_at  timestamptz
    );

    -- spec: what the owner wants, without secrets. generation counts every write, revision the writes that need new
    -- containers, sleep_generation is the generation of the last forced scale to zero. The columns from
    -- observed_generation to target_replica are the projection that the endpoint's workflow writes.
    CREATE TABLE endpoints (
      id                   uuid PRIMARY KEY,
      namespace            text NOT NULL REFERENCES namespaces,
      name                 text NOT NULL,
      spec                 jsonb NOT NULL,
      secrets              bytea,
      phase                text NOT NULL CHECK (phase IN ('running', 'paused', 'deleted')),
      generation           integer NOT NULL,
      revision             integer NOT NULL,
      sleep_generation     integer NOT NULL DEFAULT 0,
      observed_generation  integer NOT NULL DEFAULT 0,
      state                text NOT NULL DEFAULT 'pending',
      message              text NOT NULL DEFAULT 'Endpoint waiting to be scheduled',
      error_message        text,
      ready_replica        integer NOT NULL DEFAULT 0,
      target_replica       integer NOT NULL DEFAULT 0,
      created_at           timestamptz NOT NULL DEFAULT now(),
      created_by           uuid NOT NULL,
      updated_at           timestamptz NOT NULL DEFAULT now(),
      updated_by           uuid NOT NULL,
      last_used_at         timestamptz,
      UNIQUE (namespace, name)
    );
    CREATE INDEX endpoints_unobserved ON endpoints (updated_at) WHERE generation > observed_generation;

    -- A revision freezes what its replicas run: the spec, the secrets, and the files of one commit.
    CREATE TABLE revisions (
      endpoint_id  uuid NOT NULL REFERENCES endpoints ON DELETE CASCADE,
      revision     integer NOT NULL,
      spec         jsonb NOT NULL,
      secrets      bytea,
      weights      jsonb,
      created_at   timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (endpoint_id, revision)
    );

    CREATE TABLE hosts (
      id          text PRIMARY KEY,
      name        text NOT NULL,
      provider    text NOT NULL,
      vendor      text NOT NULL,
      region      text NOT NULL,
      state       text NOT NULL CHECK (state IN ('ready', 'lost', 'draining')),
      address     text NOT NULL,
      public_key  jsonb NOT NULL,
      inventory   jsonb NOT NULL,
      joined_at   timestamptz NOT NULL DEFAULT now(),
      seen_at     timestamptz NOT NULL DEFAULT now()
    );

    CREATE TABLE replicas (
      id           text PRIMARY KEY,
      endpoint_id  uuid NOT NULL REFERENCES endpoints ON DELETE CASCADE,
      number       integer NOT NULL,
      revision     integer NOT NULL,
      stage        text NOT NULL,
      message      text NOT NULL DEFAULT '',
      host_id      text REFERENCES hosts,
      failure      jsonb,
      created_at   timestamptz NOT NULL DEFAULT now(),
      stage_since  timestamptz NOT NULL DEFAULT now(),
      ready_at     timestamptz,
      stopped_at   timestamptz,
      -- Share of its CPUs in use, in percent, and when that was seen.
      cpu_percent  real,
      usage_at     timestamptz,
      UNIQUE (endpoint_id, number)
    );
    CREATE INDEX replicas_alive ON replicas (endpoint_id) WHERE stopped_at IS NULL;

    -- What a replica takes of its host; deleting the row gives it back.
    CREATE TABLE allocations (
      replica_id    text PRIMARY KEY REFERENCES replicas ON DELETE CASCADE,
      host_id       text NOT NULL REFERENCES hosts,
      cpus          double precision NOT NULL,
      memory_bytes  bigint NOT NULL,
      gpus          integer[] NOT NULL
    );
    CREATE INDEX allocations_host ON allocations (host_id);

    CREATE SEQUENCE route_version;
    CREATE TABLE routes (
      replica_id   text PRIMARY KEY REFERENCES replicas ON DELETE CASCADE,
      endpoint_id  uuid NOT NULL REFERENCES endpoints ON DELETE CASCADE,
      address      text NOT NULL,
      engine_key   bytea NOT NULL,
      state        text NOT NULL CHECK (state IN ('ready', 'draining')),
      version      bigint NOT NULL DEFAULT nextval('route_version')
    );
    CREATE INDEX routes_endpoint ON routes (endpoint_id);

    CREATE TABLE gateways (
      id       text PRIMARY KEY,
      version  bigint NOT NULL,
      seen_at  timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE gateway_load (
      gateway_id       text NOT NULL REFERENCES gateways ON DELETE CASCADE,
      endpoint_id      uuid NOT NULL REFERENCES endpoints ON DELETE CASCADE,
      in_flight        jsonb NOT NULL,
      pending          integer NOT NULL,
      requests         bigint NOT NULL,
      last_request_at  timestamptz,
      reported_at      timestamptz NOT NULL DEFAULT now(),
      PRIMARY KEY (gateway_id, endpoint_id)
    );

    CREATE TABLE audit (
      id             bigserial PRIMARY KEY,
      created_at     timestamptz NOT NULL DEFAULT now(),
      namespace      text NOT NULL,
      action         text NOT NULL,
      endpoint_id    uuid,
      endpoint_name  text,
      user_id        text NOT NULL,
      user_name      text NOT NULL,
      token_id       uuid,
      ip             text,
      user_agent     text,
      request_id     text,
      changes        jsonb,
      message        text NOT NULL
    );
    CREATE INDEX audit_namespace ON audit (namespace, id DESC);

    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
    CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
      FOR EACH ROW EXECUTE FUNCTION refuse_change();

    -- Gateways and API processes LISTEN on 'changes'; the payload says what to read again: 'endpoint:<id>' or 'tokens'.
    CREATE FUNCTION notify_endpoint() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('changes', 'endpoint:' || coalesce(NEW.id, OLD.id)); RETURN NULL; END $$;
    CREATE TRIGGER endpoints_notify AFTER INSERT OR UPDATE OF spec, phase, state OR DELETE ON endpoints
      FOR EACH ROW EXECUTE FUNCTION notify_endpoint();

    CREATE FUNCTION notify_route() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('changes', 'endpoint:' || coalesce(NEW.endpoint_id, OLD.endpoint_id)); RETURN NULL; END $$;
    CREATE TRIGGER routes_notify AFTER INSERT OR UPDATE OR DELETE ON routes
      FOR EACH ROW EXECUTE FUNCTION notify_route();

    CREATE FUNCTION notify_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_notify('changes', 'tokens'); RETURN NULL; END $$;
    CREATE TRIGGER tokens_notify AFTER INSERT OR UPDATE OR DELETE ON tokens
      FOR EACH STATEMENT EXECUTE FUNCTION notify_tokens();
    CREATE TRIGGER memberships_notify AFTER INSERT OR UPDATE OR DELETE ON memberships
      FOR EACH STATEMENT EXECUTE FUNCTION notify_tokens();
  `.execute(db);
}
