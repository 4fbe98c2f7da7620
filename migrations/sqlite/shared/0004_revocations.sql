-- Revocations of sessions that have not come to their second step: until one expires, its user does not log in.
CREATE TABLE revocations (
    user_id       TEXT    NOT NULL,
    revocation_id TEXT    NOT NULL,
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (user_id, revocation_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_expiry ON revocations (expires_at);
