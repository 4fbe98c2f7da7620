-- Times are Unix milliseconds. position is the MD5 of the partition key, big-endian: blobs order as the ring does.
-- state, moved_to, handoff_id and epoch tell where a row stands in a hand-off; a void row only keeps its id from use.
CREATE TABLE users (
    user_id          TEXT    NOT NULL PRIMARY KEY,
    position         BLOB    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('live', 'moved', 'incoming', 'void')),
    moved_to         TEXT,
    handoff_id       TEXT,
    epoch            INTEGER NOT NULL,
    version          INTEGER NOT NULL,
    login_name       TEXT    NOT NULL,
    password_hash    TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    email            TEXT    NOT NULL,
    preferences      TEXT    NOT NULL,
    permissions      TEXT    NOT NULL,
    suspended        INTEGER NOT NULL,
    idempotency_hash BLOB,
    reset_hash       BLOB,
    reset_expires_at INTEGER,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX users_position ON users (position);

CREATE TABLE login_names (
    login_name TEXT    NOT NULL PRIMARY KEY,
    position   BLOB    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('live', 'moved', 'incoming')),
    moved_to   TEXT,
    handoff_id TEXT,
    epoch      INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    user_id    TEXT    NOT NULL,
    claim_id   TEXT    NOT NULL,
    claimed_at INTEGER NOT NULL,
    confirmed  INTEGER NOT NULL
) STRICT;
CREATE INDEX login_names_position ON login_names (position);

-- One row: which shard this database is, and the epoch that inserts must name.
CREATE TABLE shard (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    shard_id  TEXT    NOT NULL,
    epoch     INTEGER NOT NULL
) STRICT;
