-- One row: the topology in force, its epoch and state, changed by compare-and-set on both.
CREATE TABLE topology (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    epoch     INTEGER NOT NULL,
    state     TEXT    NOT NULL,
    document  TEXT    NOT NULL
) STRICT;
