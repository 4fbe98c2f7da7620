-- What operators tell the balancers. Without an algorithm the setting holds.
CREATE TABLE balancing (
    singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
    algorithm TEXT
) STRICT;
INSERT INTO balancing VALUES (1, NULL);

-- record: of a node that was added; null for an instance that was taken out.
CREATE TABLE balancer_nodes (
    node_id TEXT NOT NULL PRIMARY KEY,
    record  TEXT
) STRICT;
