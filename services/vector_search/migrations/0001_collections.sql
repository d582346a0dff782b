-- Collections of points; a document is a set of points that were cut from one text.

CREATE TABLE collections (
    collection_id    uuid PRIMARY KEY,
    organization_id  uuid NOT NULL,
    name             text NOT NULL,
    dimension        integer NOT NULL CHECK (dimension BETWEEN 1 AND 4000),
    metric           text NOT NULL CHECK (metric IN ('cosine', 'l2', 'inner_product')),
    embedding_model  text NOT NULL,
    point_count      bigint NOT NULL DEFAULT 0,
    indexed          boolean NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, name)
);

CREATE TABLE documents (
    organization_id  uuid NOT NULL,
    collection_id    uuid NOT NULL REFERENCES collections,
    document_id      text NOT NULL,
    sha256           bytea NOT NULL,
    passage_count    integer NOT NULL,
    PRIMARY KEY (collection_id, document_id)
);

-- An exact search reads all of a collection's embeddings. They lie in the row itself (MAIN) and the texts outside of it
-- (EXTERNAL), so that this is one walk through the table: measured, it takes a third of the time of the default.
-- 2,700 bytes is three rows to a page. There is no foreign key: writers hold the collection's row, and one more check
-- per point would cost as much as the point.
CREATE TABLE points (
    organization_id  uuid NOT NULL,
    collection_id    uuid NOT NULL,
    point_id         uuid NOT NULL,
    document_id      text,
    start_offset     integer,
    end_offset       integer,
    text             text STORAGE EXTERNAL NOT NULL,
    metadata         jsonb STORAGE EXTERNAL NOT NULL,
    embedding        vector STORAGE MAIN NOT NULL,
    PRIMARY KEY (collection_id, point_id)
) WITH (toast_tuple_target = 2700);
CREATE INDEX points_document ON points (collection_id, document_id) WHERE document_id IS NOT NULL;

ALTER TABLE collections ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE points ENABLE ROW LEVEL SECURITY;

-- The sub-selects are evaluated once in a statement; without them, the settings would be read for each row.
CREATE POLICY tenant ON collections USING (
    organization_id = (SELECT nullif(current_setting('app.organization_id', true), '')::uuid)
    OR (SELECT current_setting('app.all_organizations', true) = 'on')
);
CREATE POLICY tenant ON documents USING (
    organization_id = (SELECT nullif(current_setting('app.organization_id', true), '')::uuid)
    OR (SELECT current_setting('app.all_organizations', true) = 'on')
);
CREATE POLICY tenant ON points USING (
    organization_id = (SELECT nullif(current_setting('app.organization_id', true), '')::uuid)
    OR (SELECT current_setting('app.all_organizations', true) = 'on')
);

-- Builds the HNSW index of one collection, in the rights of the tables' owner; false where there is nothing to do.
-- It holds off writers, of any collection, while it builds, but not for longer than three seconds while it waits.
CREATE FUNCTION build_index(target uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = vector_search, public, pg_temp
SET lock_timeout = '3s'
SET maintenance_work_mem = '256MB'
AS $$
DECLARE
    collection  collections;
    kind        text;
BEGIN
    -- Writers take the collection's row before they touch its points; in any other order, this would deadlock.
    SELECT * INTO collection FROM collections WHERE collection_id = target AND NOT indexed
        FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    kind := CASE WHEN collection.dimension > 2000 THEN 'halfvec' ELSE 'vector' END;
    EXECUTE format(
        'CREATE INDEX %I ON points USING hnsw ((embedding::%s(%s)) %s) WHERE collection_id = %L',
        'points_hnsw_' || replace(target::text, '-', ''),
        kind,
        collection.dimension,
        kind || CASE collection.metric WHEN 'cosine' THEN '_cosine_ops' WHEN 'l2' THEN '_l2_ops' ELSE '_ip_ops' END,
        target
    );
    UPDATE collections SET indexed = true WHERE collection_id = target;
    RETURN true;
END
$$;
