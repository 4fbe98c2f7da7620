-- What the fleet remembers in few words. fence: of the lock under which it was written.
CREATE TABLE notes (
    name  TEXT    NOT NULL PRIMARY KEY,
    text  TEXT    NOT NULL,
    fence INTEGER NOT NULL
) STRICT;
