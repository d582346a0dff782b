-- audit_link runs with its owner's rights. Whoever may execute it may hang it on a table of their own, whose column types
-- run code of theirs inside it. Firing the trigger that is there needs no such right; making another does.

DO $$
DECLARE
    grantee regrole;
BEGIN
    REVOKE EXECUTE ON FUNCTION audit_link(), audit_refuse() FROM PUBLIC;
    FOR grantee IN
        SELECT DISTINCT acl.grantee::regrole
        FROM pg_proc p, aclexplode(p.proacl) acl
        WHERE p.oid IN ('audit_link()'::regprocedure, 'audit_refuse()'::regprocedure)
            AND acl.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION audit_link(), audit_refuse() FROM %s', grantee);
    END LOOP;
END
$$;
