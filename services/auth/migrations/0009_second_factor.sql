-- A second factor is its user's, as the password is, and belongs to no organization. While enabled_at is null it is
-- an enrolment that waits for its first code, and log-ins do not ask for it.

CREATE TABLE second_factors (
    user_id     uuid PRIMARY KEY REFERENCES users,
    secret      bytea NOT NULL,
    begun_at    timestamptz NOT NULL,
    enabled_at  timestamptz,
    last_step   bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN second_factors.secret IS 'Sealed, and bound to the user''s id.';
COMMENT ON COLUMN second_factors.last_step IS 'Of the last code that was accepted; none of it or before is accepted again.';

-- What is left of them: a used one is gone.
CREATE TABLE recovery_codes (
    user_id  uuid NOT NULL REFERENCES second_factors ON DELETE CASCADE,
    sha256   bytea NOT NULL,
    PRIMARY KEY (user_id, sha256)
);
COMMENT ON COLUMN recovery_codes.sha256 IS 'Of user id and code, so that a row copied to another user opens nothing.';
