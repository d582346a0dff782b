-- Sessions that sprang from others, and what is known of an API key beside its scopes.

SET LOCAL lock_timeout = '5s';
SET LOCAL app.all_organizations = 'on';

ALTER TABLE sessions ADD COLUMN parent_id uuid;
COMMENT ON COLUMN sessions.parent_id IS 'The session that this one was switched to from; it ends with it.';
ALTER TABLE sessions ADD COLUMN authenticated_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN sessions.authenticated_at IS 'When a password was asked for; from then on counts how long a session may live.';
CREATE INDEX sessions_parent ON sessions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX refresh_tokens_rotated ON refresh_tokens (rotated_at) WHERE rotated_at IS NOT NULL;

ALTER TABLE api_keys ADD COLUMN user_id uuid;
COMMENT ON COLUMN api_keys.user_id IS 'Who answers for it; where it is null, creator_id says so.';
ALTER TABLE api_keys ADD COLUMN used_at timestamptz;
ALTER TABLE api_keys ADD COLUMN superseded_at timestamptz;
COMMENT ON COLUMN api_keys.superseded_at IS 'When it ends because another one has taken its place.';
ALTER TABLE api_keys ADD COLUMN revoked_at timestamptz;
CREATE INDEX api_keys_created ON api_keys (organization_id, created_at, api_key_id);
CREATE INDEX api_keys_creator ON api_keys (creator_id);

-- A key that a key made is answered for by whoever answers for its maker.
WITH RECURSIVE answered (api_key_id, user_id) AS (
    SELECT api_key_id, users.user_id FROM api_keys JOIN users ON users.user_id::text = creator_id
    UNION ALL
    SELECT made.api_key_id, answered.user_id FROM api_keys made JOIN answered ON answered.api_key_id::text = made.creator_id
)
UPDATE api_keys SET user_id = answered.user_id FROM answered WHERE api_keys.api_key_id = answered.api_key_id;
