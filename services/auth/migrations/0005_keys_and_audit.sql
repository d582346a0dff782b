-- Signing keys are sealed by the service, and live: published first, signing from a moment on, then only verifying, then gone.

ALTER TABLE signing_keys
    ALTER COLUMN private_key DROP NOT NULL,
    ADD COLUMN sealed_key     bytea,
    ADD COLUMN signs_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN token_seconds  integer NOT NULL DEFAULT 3600,
    ADD COLUMN revoked_at     timestamptz;
UPDATE signing_keys SET signs_at = created_at;
-- What lies open from before is sealed; nothing else may: whoever could write here could plant a key that would be sealed, too.
ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_sealed CHECK (private_key IS NULL) NOT VALID;
COMMENT ON COLUMN signing_keys.private_key IS 'PEM of before keys were sealed; the service seals it at its next start.';
COMMENT ON COLUMN signing_keys.token_seconds IS 'How long the longest-lived token may live that the key signs.';

-- A stolen key is told to verifiers as ended sessions are. It belongs to no organization: the nil UUID.
ALTER TABLE revocations DROP CONSTRAINT revocations_kind_check;
ALTER TABLE revocations ADD CONSTRAINT revocations_kind_check
    CHECK (kind IN ('session', 'member', 'api_key', 'signing_key'));

-- Chains are moved on by the link alone, which is why it runs with its owner's rights: whoever may append to a chain may not
-- touch its head, nor an entry. That takes no role's name: it holds for whoever was granted anything.
ALTER FUNCTION audit_link() SECURITY DEFINER;
ALTER FUNCTION audit_link() SET search_path = auth, pg_temp;

DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT table_name, grantee FROM information_schema.role_table_grants
        WHERE table_schema = 'auth' AND table_name IN ('audit_chains', 'audit_entries') AND grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE ALL ON auth.%I FROM %I', granted.table_name, granted.grantee);
        EXECUTE format('GRANT SELECT ON auth.%I TO %I', granted.table_name, granted.grantee);
        IF granted.table_name = 'audit_entries' THEN
            EXECUTE format('GRANT INSERT ON auth.%I TO %I', granted.table_name, granted.grantee);
        END IF;
    END LOOP;
END
$$;

CREATE INDEX audit_entries_action ON audit_entries (organization_id, action, sequence);
CREATE INDEX audit_entries_actor ON audit_entries (organization_id, actor, sequence);
CREATE INDEX audit_entries_at ON audit_entries (organization_id, at);
