-- Times are Unix milliseconds.
-- A user's gen outlives every session made under it; snapshot is what all sessions of the user show, at its version.
CREATE TABLE session_users (
    user_id    TEXT    NOT NULL PRIMARY KEY,
    gen        INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    snapshot   TEXT    NOT NULL
) STRICT;
CREATE INDEX session_users_expiry ON session_users (expires_at);

CREATE TABLE sessions (
    user_id         TEXT    NOT NULL,
    session_id      TEXT    NOT NULL,
    digest          BLOB    NOT NULL,
    gen             INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    idle_expires_at INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    address         TEXT,
    user_agent      TEXT,
    PRIMARY KEY (user_id, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_expiry ON sessions (min(idle_expires_at, expires_at));

-- Kept by triggers, so that statistics cost the same at any number of sessions.
CREATE TABLE session_totals (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    sessions  INTEGER NOT NULL,
    bytes     INTEGER NOT NULL
) STRICT;
INSERT INTO session_totals VALUES (1, 0, 0);
CREATE TRIGGER session_added AFTER INSERT ON sessions BEGIN
    UPDATE session_totals SET sessions = sessions + 1, bytes = bytes + 132
        + length(NEW.user_id) + coalesce(length(NEW.address), 0) + coalesce(octet_length(NEW.user_agent), 0);
END;
CREATE TRIGGER session_removed AFTER DELETE ON sessions BEGIN
    UPDATE session_totals SET sessions = sessions - 1, bytes = bytes - 132
        - length(OLD.user_id) - coalesce(length(OLD.address), 0) - coalesce(octet_length(OLD.user_agent), 0);
END;

-- full_at: when the bucket will be full again (GCRA's theoretical arrival time).
CREATE TABLE throttle (
    bucket  BLOB    NOT NULL PRIMARY KEY,
    full_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX throttle_expiry ON throttle (full_at);

CREATE TABLE instances (
    instance_id TEXT    NOT NULL PRIMARY KEY,
    seen_at     INTEGER NOT NULL,
    record      TEXT    NOT NULL
) STRICT;

-- fence rises with every change of holder and is never reused.
CREATE TABLE locks (
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    fence      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
