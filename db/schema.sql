-- schema.sql - the tables of a new database, schema number 6 (PRAGMA user_version).
--
-- A change raises UCB_SCHEMA_NUMBER in harness/store/store.c, edits this file and adds
-- db/migrations/NNN_what.sql, which takes a database from NNN - 1 to NNN. Views stand in db/views.sql and are
-- made anew after every migration, so a migration never has to touch them. db/README.md explains the tables.

-- One invocation of `ucbench sweep`.
CREATE TABLE runs (
    run_id       INTEGER PRIMARY KEY,
    build_id     TEXT NOT NULL,                  -- SHA-256 of sources, compiler and flags
    started      TEXT NOT NULL,                  -- UTC, ISO 8601
    ended        TEXT,                           -- NULL: killed, or still running
    command_line TEXT NOT NULL,
    environment  TEXT NOT NULL CHECK (json_valid(environment))
) STRICT;

-- What the grid detector said of a model: whether its weights had been quantized before.
CREATE TABLE models (
    model_digest      TEXT PRIMARY KEY CHECK (length(model_digest) = 64),
    detector_revision INTEGER NOT NULL,
    lattice_source    TEXT NOT NULL,             -- '': dense; else the grid, in words
    lattice_share     REAL NOT NULL CHECK (lattice_share BETWEEN 0 AND 1)
) STRICT, WITHOUT ROWID;

-- Files that a run read.
CREATE TABLE files (
    run_id  INTEGER NOT NULL REFERENCES runs,
    kind    TEXT NOT NULL,                       -- 'model', 'data'
    path    TEXT NOT NULL,
    n_bytes INTEGER NOT NULL CHECK (n_bytes >= 0),
    sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (run_id, kind, path)
) STRICT, WITHOUT ROWID;

-- The documents of a task's data set: the unit of resampling. Shared by all cells that have equal ones.
CREATE TABLE documents (
    documents_digest TEXT NOT NULL,              -- SHA-256 over all names, words and bytes of the set
    document         INTEGER NOT NULL,
    name             TEXT NOT NULL,
    n_words          INTEGER NOT NULL,
    n_bytes          INTEGER NOT NULL,
    PRIMARY KEY (documents_digest, document)
) STRICT, WITHOUT ROWID;

-- A result under one build. cell_id is a content hash of everything the result depends on.
CREATE TABLE cells (
    cell_key            INTEGER PRIMARY KEY,     -- of this file only; never leaves it
    cell_id             TEXT NOT NULL CHECK (length(cell_id) = 64),
    build_id            TEXT NOT NULL,
    model               TEXT NOT NULL,
    model_digest        TEXT NOT NULL,
    scope               TEXT NOT NULL,
    method              TEXT NOT NULL,
    spec                TEXT NOT NULL,
    identity            TEXT NOT NULL,
    calib               TEXT NOT NULL,           -- spec and 12 digits of its text's SHA-256; '': the method needs none
    task                TEXT NOT NULL,
    task_revision       INTEGER NOT NULL,
    dataset             TEXT NOT NULL,
    dataset_digest      TEXT NOT NULL,
    arithmetic          TEXT NOT NULL,
    arithmetic_revision INTEGER NOT NULL,
    seed                INTEGER NOT NULL,        -- 64 bits, read as signed
    status              TEXT NOT NULL CHECK (status IN ('OK', 'FAILED')),
    reason              TEXT,                    -- of a failed cell: the status code
    message             TEXT,                    -- of a failed cell: why; otherwise a caveat
    weights_digest      TEXT NOT NULL,           -- '': none was taken
    documents_digest    TEXT,
    n_items             INTEGER NOT NULL,
    -- '': compared with the original in the same arithmetic; else the arithmetic of the original it is compared with,
    -- which makes it the model's noise floor (spec none).
    reference           TEXT NOT NULL DEFAULT '',
    UNIQUE (cell_id, build_id)
) STRICT;

-- What a method wrote, by purpose. Bits per weight follow from these counts and from nothing else.
CREATE TABLE sizes (
    cell_key         INTEGER PRIMARY KEY REFERENCES cells ON DELETE CASCADE,
    n_weights        INTEGER NOT NULL,           -- in scope
    n_parameters     INTEGER NOT NULL,           -- of the model, tied tables once
    rest_bytes       INTEGER NOT NULL,           -- outside the scope, headers included
    model_file_bytes INTEGER NOT NULL,
    bpw_nominal      REAL,
    bpw_claimed      REAL,
    codes_bytes      INTEGER NOT NULL,
    scales_bytes     INTEGER NOT NULL,
    zeros_bytes      INTEGER NOT NULL,
    codebook_bytes   INTEGER NOT NULL,
    factors_bytes    INTEGER NOT NULL,
    tables_bytes     INTEGER NOT NULL,
    header_bytes     INTEGER NOT NULL,
    padding_bytes    INTEGER NOT NULL,
    matrices_bytes   INTEGER NOT NULL GENERATED ALWAYS AS (
        codes_bytes + scales_bytes + zeros_bytes + codebook_bytes
        + factors_bytes + tables_bytes + header_bytes + padding_bytes) STORED,
    -- x / 0 is NULL in SQL: a model without weights in scope has no bits per weight.
    bpw_matrices     REAL GENERATED ALWAYS AS (8.0 * matrices_bytes / n_weights) STORED,
    bpw_model        REAL GENERATED ALWAYS AS (8.0 * (matrices_bytes + rest_bytes) / n_parameters) STORED
) STRICT;

-- Which runs count a cell as theirs: the one that made it and every one that found it finished.
CREATE TABLE run_cells (
    run_id   INTEGER NOT NULL REFERENCES runs,
    cell_key INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    PRIMARY KEY (run_id, cell_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_cells_by_cell ON run_cells (cell_key);

-- A window x document piece. A value that is not a number is NULL.
CREATE TABLE items (
    cell_key        INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    item            INTEGER NOT NULL,
    document        INTEGER NOT NULL,
    n_tokens        INTEGER NOT NULL,
    sum_logp        REAL,                        -- natural logarithm, sum over the item's tokens
    t1_gt_hits      INTEGER NOT NULL,
    t10_gt_hits     INTEGER NOT NULL,
    t1_agree_hits   INTEGER NOT NULL,
    t10_agree_hits  INTEGER NOT NULL,
    t10_overlap_sum INTEGER NOT NULL,
    target_correct  INTEGER NOT NULL,
    last_t1_gt      INTEGER NOT NULL,
    last_t10_gt     INTEGER NOT NULL,
    last_t1_agree   INTEGER NOT NULL,
    kld_sum         REAL,
    ear_sum         REAL,
    kld             BLOB,                        -- n_tokens little-endian float32; NULL: the original itself
    PRIMARY KEY (cell_key, item)
) STRICT;

CREATE TABLE metrics (
    cell_key   INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    metric     TEXT NOT NULL,
    value      REAL,
    ci_low     REAL,
    ci_high    REAL,
    n          INTEGER NOT NULL,
    interval   TEXT NOT NULL,
    note       TEXT,                             -- a caveat to print beside the number
    is_quality INTEGER NOT NULL CHECK (is_quality IN (0, 1)), -- 0: time or memory, outside the digest
    PRIMARY KEY (cell_key, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE checks (
    cell_key   INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    check_name TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('PASS', 'FAIL', 'SKIPPED')),
    detail     TEXT,
    PRIMARY KEY (cell_key, check_name)
) STRICT, WITHOUT ROWID;

-- How each layer of a cell came out: what was measured while it was made, and the loss of a stage that tuned it. Times
-- and memory are a machine's, losses follow from the bytes; none of it is in the digest.
CREATE TABLE layers (
    cell_key       INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    layer          INTEGER NOT NULL,
    seconds        REAL NOT NULL,                -- to make its bytes, by the run that made them
    peak_rss_bytes INTEGER NOT NULL,             -- most resident memory of the process until the layer had run
    loss_before    REAL,                         -- NULL: nothing was tuned
    loss_after     REAL,
    PRIMARY KEY (cell_key, layer)
) STRICT, WITHOUT ROWID;

-- What a program took, a row for each repeat of a night (`ucbench gate --candidate-times`).
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

-- The e-process over nights: flips of items that no earlier night fed. A baseline starts its own.
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

-- Filled by `report claims`; empty until then.
CREATE TABLE claims (
    claim_id TEXT PRIMARY KEY,
    source   TEXT NOT NULL,
    model    TEXT NOT NULL,
    method   TEXT NOT NULL,
    metric   TEXT NOT NULL,
    claimed  REAL,
    measured REAL,
    ci_low   REAL,
    ci_high  REAL,
    n        INTEGER,
    verdict  TEXT NOT NULL
             CHECK (verdict IN ('reproduced', 'refuted', 'inconclusive', 'not comparable', 'not run')),
    reason   TEXT,
    note     TEXT
) STRICT, WITHOUT ROWID;
