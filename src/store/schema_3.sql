-- Samples whose attribution was revised after they were recorded, until a shared store has the revision.
CREATE TABLE revised_sample (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL
) STRICT;

-- Tells this store from others.
CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uuid BLOB NOT NULL
) STRICT;
