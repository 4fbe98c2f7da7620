-- position is the MD5 of the partition key: a uuid orders as the ring does.
-- state, moved_to, handoff_id and epoch tell where a row stands in a hand-off; a void row only keeps its id from use.
CREATE TABLE users (
    user_id          uuid        NOT NULL PRIMARY KEY,
    position         uuid        NOT NULL,
    state            text        NOT NULL CHECK (state IN ('live', 'moved', 'incoming', 'void')),
    moved_to         text,
    handoff_id       uuid,
    epoch            bigint      NOT NULL,
    version          bigint      NOT NULL,
    login_name       text        NOT NULL,
    password_hash    text        NOT NULL,
    name             text        NOT NULL,
    email            text        NOT NULL,
    preferences      json        NOT NULL,
    permissions      json        NOT NULL,
    suspended        boolean     NOT NULL,
    idempotency_hash bytea,
    reset_hash       bytea,
    reset_expires_at timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
);
CREATE INDEX users_position ON users (position);

CREATE TABLE login_names (
    login_name text        NOT NULL PRIMARY KEY,
    position   uuid        NOT NULL,
    state      text        NOT NULL CHECK (state IN ('live', 'moved', 'incoming')),
    moved_to   text,
    handoff_id uuid,
    epoch      bigint      NOT NULL,
    version    bigint      NOT NULL,
    user_id    uuid        NOT NULL,
    claim_id   uuid        NOT NULL,
    claimed_at timestamptz NOT NULL,
    confirmed  boolean     NOT NULL
);
CREATE INDEX login_names_position ON login_names (position);

-- One row: which shard this database is, and the epoch that inserts must name.
CREATE TABLE shard (
    singleton boolean NOT NULL PRIMARY KEY CHECK (singleton),
    shard_id  text    NOT NULL,
    epoch     bigint  NOT NULL
);

-- The fence on inserts: true at the wanted epoch, else error SY001. The lock keeps the epoch from rising until the
-- inserting transaction ends. VOLATILE, so that the epoch is read by a snapshot taken after the lock was granted: in the
-- statement's own snapshot it could be an epoch that has passed while the lock was waited for.
CREATE FUNCTION symbolon_fence(wanted bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    current bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(6005235);
    SELECT epoch INTO STRICT current FROM shard;
    IF current <> wanted THEN
        RAISE EXCEPTION 'the shard is at epoch %, not %', current, wanted USING ERRCODE = 'SY001';
    END IF;
    RETURN true;
END;
$$;
