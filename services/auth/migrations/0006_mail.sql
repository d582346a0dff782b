-- Messages that are to be sent, written in the transaction of the deed that they tell of, and codes that reset a password.
-- Neither belongs to an organization: a user is nobody's row.

CREATE TABLE mails (
    mail_id     uuid PRIMARY KEY,
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mails_due ON mails (next_at);
COMMENT ON COLUMN mails.sealed IS 'Recipient, template and values, encrypted: some hold codes. Rows are deleted once sent.';

CREATE TABLE password_resets (
    sha256      bytea PRIMARY KEY,
    user_id     uuid,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
);
CREATE INDEX password_resets_user ON password_resets (user_id);
CREATE INDEX password_resets_expiry ON password_resets (expires_at);
COMMENT ON COLUMN password_resets.user_id IS 'Null where nobody has the address that was asked for: the same work is done for it, so there is no foreign key.';
