-- A session is one log-in of one user in one organization; its refresh tokens are a chain of which only the last is good.

ALTER TABLE memberships ADD COLUMN version integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN memberships.version IS 'Rises with each change of what the member may do; tokens carry it.';

CREATE TABLE sessions (
    session_id       uuid PRIMARY KEY,
    organization_id  uuid NOT NULL REFERENCES organizations,
    user_id          uuid NOT NULL REFERENCES users,
    device           text NOT NULL,
    address          text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    used_at          timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    ended_at         timestamptz,
    end_reason       text
);
CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    sha256           bytea PRIMARY KEY,
    session_id       uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    organization_id  uuid NOT NULL,
    generation       integer NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    rotated_at       timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id, generation);

-- What verifiers must not accept any more although its signature is good, until it would have expired anyway.
CREATE TABLE revocations (
    kind             text NOT NULL CHECK (kind IN ('session', 'member', 'api_key')),
    key              text NOT NULL,
    organization_id  uuid NOT NULL,
    version          integer NOT NULL DEFAULT 0,
    expires_at       timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX revocations_expiry ON revocations (expires_at);

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE revocations ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON sessions USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
CREATE POLICY tenant ON refresh_tokens USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
CREATE POLICY tenant ON revocations USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
