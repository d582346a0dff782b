-- In a transaction of its own, for validating reads the whole table: under a lock that lets others read and write.

ALTER TABLE memberships VALIDATE CONSTRAINT memberships_role;
ALTER TABLE memberships VALIDATE CONSTRAINT memberships_custom_role;
