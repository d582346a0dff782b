-- Roles that an organization makes for itself, and invitations to join it. A membership names one of the four built-in
-- roles, or `custom` and a role of its own organization, which cannot be deleted as long as it is named.

SET LOCAL lock_timeout = '5s';  -- whoever waits for a lock on memberships makes every log-in wait behind it

CREATE TABLE roles (
    role_id          uuid PRIMARY KEY,
    organization_id  uuid NOT NULL REFERENCES organizations,
    name             text NOT NULL,
    description      text NOT NULL,
    permissions      text[] NOT NULL,
    revision         bigint NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, role_id)
);
CREATE UNIQUE INDEX roles_name ON roles (organization_id, lower(name));

-- Constraints hold for new rows from here on; 0008_organizations_validated.sql looks at the old ones without a lock.
ALTER TABLE memberships ADD COLUMN role_id uuid;
ALTER TABLE memberships DROP CONSTRAINT memberships_role_check;
ALTER TABLE memberships ADD CONSTRAINT memberships_role CHECK (
    role IN ('owner', 'admin', 'editor', 'viewer') AND role_id IS NULL OR role = 'custom' AND role_id IS NOT NULL
) NOT VALID;
ALTER TABLE memberships ADD CONSTRAINT memberships_custom_role
    FOREIGN KEY (organization_id, role_id) REFERENCES roles (organization_id, role_id) NOT VALID;

-- Whoever has the code, of which only the hash is here, may join with this address until it ends.
CREATE TABLE invitations (
    invitation_id    uuid PRIMARY KEY,
    organization_id  uuid NOT NULL REFERENCES organizations,
    email            text NOT NULL,
    role             text NOT NULL,
    role_id          uuid,
    inviter_id       uuid NOT NULL REFERENCES users,
    sha256           bytea NOT NULL UNIQUE,
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    ended_at         timestamptz,
    CONSTRAINT invitations_role CHECK (
        role IN ('owner', 'admin', 'editor', 'viewer') AND role_id IS NULL OR role = 'custom' AND role_id IS NOT NULL
    ),
    CONSTRAINT invitations_custom_role
        FOREIGN KEY (organization_id, role_id) REFERENCES roles (organization_id, role_id)
);
CREATE UNIQUE INDEX invitations_open ON invitations (organization_id, lower(email)) WHERE ended_at IS NULL;
CREATE INDEX invitations_created ON invitations (organization_id, created_at);
CREATE INDEX invitations_role_id ON invitations (role_id) WHERE role_id IS NOT NULL;

ALTER TABLE roles ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON roles USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
CREATE POLICY tenant ON invitations USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
