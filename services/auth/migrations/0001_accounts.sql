-- Users belong to organizations by memberships. A user is nobody's row; the rest belongs to one organization each.

CREATE TABLE organizations (
    organization_id  uuid PRIMARY KEY,
    name             text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    user_id        uuid PRIMARY KEY,
    email          text NOT NULL,
    display_name   text NOT NULL,
    password_hash  text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email));

CREATE TABLE memberships (
    organization_id  uuid NOT NULL REFERENCES organizations,
    user_id          uuid NOT NULL REFERENCES users,
    role             text NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'viewer')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, created_at);

CREATE TABLE api_keys (
    api_key_id       uuid PRIMARY KEY,
    organization_id  uuid NOT NULL REFERENCES organizations,
    creator_id       text NOT NULL,
    name             text NOT NULL,
    prefix           text NOT NULL,
    sha256           bytea NOT NULL UNIQUE,
    scopes           text[] NOT NULL,
    expires_at       timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE signing_keys (
    key_id       text PRIMARY KEY,
    private_key  text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON organizations USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
CREATE POLICY tenant ON memberships USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
CREATE POLICY tenant ON api_keys USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
