-- The files that hold users. One that is named here and missing is not made anew: it would be empty.
CREATE TABLE files (
    name TEXT NOT NULL PRIMARY KEY
) STRICT;
