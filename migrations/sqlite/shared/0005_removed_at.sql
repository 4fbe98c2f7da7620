-- When an instance was taken out; null for a node that was added. Who was taken out before counts from now on.
ALTER TABLE balancer_nodes ADD COLUMN removed_at INTEGER;
UPDATE balancer_nodes SET removed_at = unixepoch() * 1000 WHERE record IS NULL;
