-- One row: the topology in force, its epoch and state, changed by compare-and-set on both.
CREATE TABLE topology (
    singleton boolean NOT NULL PRIMARY KEY CHECK (singleton),
    epoch     bigint  NOT NULL,
    state     text    NOT NULL,
    document  json    NOT NULL
);
