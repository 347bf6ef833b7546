-- 005_nightly.sql - what nights leave behind: timings, and the evidence that accumulates over them (db/README.md).
CREATE TABLE timings (
    night    TEXT NOT NULL,                      -- its date, YYYY-MM-DD
    name     TEXT NOT NULL,                      -- what took the time: 'MODEL/SPEC encode'
    side     TEXT NOT NULL CHECK (side IN ('baseline', 'candidate')),
    rerun    INTEGER NOT NULL CHECK (rerun IN (0, 1)), -- 1: measured again to confirm a change
    round    INTEGER NOT NULL,                   -- which repeat of its side, from 0
    build_id TEXT NOT NULL,                      -- of the program that was timed
    seconds  REAL NOT NULL CHECK (seconds > 0),
    PRIMARY KEY (night, name, side, rerun, round)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
    baseline_run  INTEGER NOT NULL REFERENCES runs,
    cell_id       TEXT NOT NULL,                 -- of the baseline's cell; each has a process of its own
    night         TEXT NOT NULL,                 -- its date seeded the sample of items
    candidate_run INTEGER NOT NULL REFERENCES runs,
    n_lost        INTEGER NOT NULL,              -- of the items fed: right before, wrong now
    n_won         INTEGER NOT NULL,              -- wrong before, right now
    log_e         REAL NOT NULL,                 -- of the process after this night, natural logarithm
    items         BLOB NOT NULL,                 -- the items fed, ascending, little-endian uint32; never fed again
    PRIMARY KEY (baseline_run, cell_id, night)
) STRICT, WITHOUT ROWID;
