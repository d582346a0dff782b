CREATE TABLE agents (
    organization_id   uuid NOT NULL,
    id                uuid NOT NULL,
    revision          bigint NOT NULL DEFAULT 1,
    latest_version    integer NOT NULL DEFAULT 1,
    name              text NOT NULL,
    description       text NOT NULL,
    status            text NOT NULL CHECK (status IN ('DRAFT', 'ACTIVE', 'PAUSED', 'ARCHIVED')),
    type              text NOT NULL,
    model_provider    text NOT NULL,
    model_name        text NOT NULL,
    model_config      jsonb NOT NULL,
    system_prompt     text NOT NULL,
    capabilities      text[] NOT NULL,
    memory_config     jsonb NOT NULL,
    retrieval_config  jsonb NOT NULL,
    tags              text[] NOT NULL,
    owner_id          uuid NOT NULL,
    topics            text[] NOT NULL,
    collection_ids    uuid[] NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX agents_by_status ON agents (organization_id, status, id);

-- One for each change of an agent. `snapshot` is the row of agents as it was after it, `updated_at` says when.
CREATE TABLE versions (
    organization_id  uuid NOT NULL,
    agent_id         uuid NOT NULL,
    number           integer NOT NULL,
    snapshot         jsonb NOT NULL,
    creator_id       text NOT NULL,
    PRIMARY KEY (organization_id, agent_id, number),
    FOREIGN KEY (organization_id, agent_id) REFERENCES agents
);

CREATE TABLE executions (
    organization_id  uuid NOT NULL,
    id               uuid NOT NULL,
    agent_id         uuid NOT NULL,
    version          integer NOT NULL,
    revision         bigint NOT NULL DEFAULT 1,
    status           text NOT NULL DEFAULT 'RUNNING' CHECK (status IN ('RUNNING', 'SUCCEEDED', 'FAILED')),
    input            jsonb,
    output           jsonb,
    error            text NOT NULL DEFAULT '',
    input_tokens     bigint NOT NULL DEFAULT 0,
    output_tokens    bigint NOT NULL DEFAULT 0,
    started_at       timestamptz NOT NULL DEFAULT now(),
    ended_at         timestamptz,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, agent_id, version) REFERENCES versions,
    CHECK ((status = 'RUNNING') = (ended_at IS NULL))
);
CREATE INDEX executions_by_agent ON executions (organization_id, agent_id, id);

-- A deleted relation keeps its row, so that `revision` goes on rising when it is created again.
CREATE TABLE relations (
    organization_id  uuid NOT NULL,
    source_id        uuid NOT NULL,
    target_id        uuid NOT NULL,
    type             text NOT NULL CHECK (type IN ('COLLABORATES_WITH', 'DELEGATES_TO', 'SUPERVISES')),
    revision         bigint NOT NULL DEFAULT 1,
    deleted          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (organization_id, source_id, target_id, type),
    CONSTRAINT relations_source FOREIGN KEY (organization_id, source_id) REFERENCES agents,
    CONSTRAINT relations_target FOREIGN KEY (organization_id, target_id) REFERENCES agents,
    CHECK (source_id <> target_id),
    CHECK (type <> 'COLLABORATES_WITH' OR source_id < target_id)
);

-- What was made for which request_id, so that a repeated call finds it instead of making another.
CREATE TABLE requests (
    organization_id  uuid NOT NULL,
    request_id       uuid NOT NULL,
    method           text NOT NULL,
    body_sha256      bytea NOT NULL,
    entity_id        uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, request_id)
);

-- See services/runtime/events.py.
CREATE TABLE outbox (
    transaction_id   xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sequence         bigint GENERATED ALWAYS AS IDENTITY,
    organization_id  uuid NOT NULL,
    entity_id        text NOT NULL,
    revision         bigint NOT NULL,
    kind             text NOT NULL,
    payload          jsonb NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (transaction_id, sequence)
);

-- How far the outbox has been handed on. No tenant's data.
CREATE TABLE relays (
    name      text PRIMARY KEY,
    position  text NOT NULL
);

DO $$
DECLARE
    tenants text;
BEGIN
    FOREACH tenants IN ARRAY ARRAY['agents', 'versions', 'executions', 'relations', 'requests', 'outbox'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', tenants);
        EXECUTE format($policy$
            CREATE POLICY tenant ON %I USING (
                organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
                OR current_setting('app.all_organizations', true) = 'on'
            )
        $policy$, tenants);
    END LOOP;
END
$$;
