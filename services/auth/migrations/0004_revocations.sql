-- By which transaction a revocation was written last: whoever tells of them looks for those that were not to be seen before.

ALTER TABLE revocations ADD COLUMN changed_in xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX revocations_changed ON revocations (changed_in);
