-- Who did what: one chain of entries for each organization, in which each holds the hash of the one before. What belongs to
-- no organization is in the chain of the nil UUID. Entries are linked here, so that no writer can forget to.

CREATE TABLE audit_chains (
    organization_id  uuid PRIMARY KEY,
    sequence         bigint NOT NULL,
    hash             bytea NOT NULL
);

CREATE TABLE audit_entries (
    organization_id  uuid NOT NULL,
    sequence         bigint NOT NULL,
    at               timestamptz NOT NULL,
    action           text NOT NULL,
    actor            text NOT NULL,
    actor_type       text NOT NULL,
    target           text NOT NULL,
    address          text NOT NULL,
    details          jsonb NOT NULL,
    previous_hash    bytea NOT NULL,
    hash             bytea NOT NULL,
    PRIMARY KEY (organization_id, sequence)
);

-- Fields one after another as netstrings (length in bytes, colon, UTF-8, comma), so that no two entries read the same.
CREATE FUNCTION audit_hash(entry audit_entries) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(entry.previous_hash || convert_to(string_agg(
        octet_length(convert_to(field, 'UTF8')) || ':' || field || ',', '' ORDER BY place), 'UTF8'))
    FROM unnest(ARRAY[
        entry.organization_id::text,
        entry.sequence::text,
        to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        entry.action, entry.actor, entry.actor_type, entry.target, entry.address, entry.details::text
    ]) WITH ORDINALITY AS fields (field, place)
$$;

CREATE FUNCTION audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_chains AS chain (organization_id, sequence, hash)
    VALUES (NEW.organization_id, 1, decode(repeat('00', 32), 'hex'))
    ON CONFLICT (organization_id) DO UPDATE SET sequence = chain.sequence + 1
    RETURNING sequence, hash INTO NEW.sequence, NEW.previous_hash;
    NEW.at := clock_timestamp();
    NEW.hash := audit_hash(NEW);
    UPDATE audit_chains SET hash = NEW.hash WHERE organization_id = NEW.organization_id;
    RETURN NEW;
END
$$;

CREATE TRIGGER link BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION audit_link();

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are never changed';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

ALTER TABLE audit_chains ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant ON audit_chains USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
CREATE POLICY tenant ON audit_entries USING (
    organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    OR current_setting('app.all_organizations', true) = 'on'
);
