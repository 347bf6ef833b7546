-- What the grid detector said of each model (db/README.md).
CREATE TABLE models (
    model_digest      TEXT PRIMARY KEY CHECK (length(model_digest) = 64),
    detector_revision INTEGER NOT NULL,
    lattice_source    TEXT NOT NULL,             -- '': dense; else the grid, in words
    lattice_share     REAL NOT NULL CHECK (lattice_share BETWEEN 0 AND 1)
) STRICT, WITHOUT ROWID;
