-- Whoever proved an old password begins no session with it any more, also when it was changed a moment ago.

ALTER TABLE users ADD COLUMN password_version integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN users.password_version IS 'Rises with each new password; the same password hashed anew keeps it.';
