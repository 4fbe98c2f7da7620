-- The fence holds only where each of its statements reads a snapshot of its own: in a transaction of a higher isolation level
-- the epoch would be read by the snapshot from before the lock was granted, and might have passed. Such a transaction is
-- refused with SY002.
CREATE OR REPLACE FUNCTION symbolon_fence(wanted bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    current bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'an insert needs isolation level read committed, not %', current_setting('transaction_isolation')
            USING ERRCODE = 'SY002';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(6005235);
    SELECT epoch INTO STRICT current FROM shard;
    IF current <> wanted THEN
        RAISE EXCEPTION 'the shard is at epoch %, not %', current, wanted USING ERRCODE = 'SY001';
    END IF;
    RETURN true;
END;
$$;
