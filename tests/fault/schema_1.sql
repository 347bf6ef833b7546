-- schema_1.sql - a database as the first schema left it: tables and views of then, a run, a cell with two items, a cell
-- that failed. What migrations start from; never edited when the schema grows.
CREATE TABLE runs (
    run_id       INTEGER PRIMARY KEY,
    build_id     TEXT NOT NULL,
    started      TEXT NOT NULL,
    ended        TEXT,
    command_line TEXT NOT NULL,
    environment  TEXT NOT NULL CHECK (json_valid(environment))
) STRICT;
CREATE TABLE files (
    run_id  INTEGER NOT NULL REFERENCES runs,
    kind    TEXT NOT NULL,
    path    TEXT NOT NULL,
    n_bytes INTEGER NOT NULL CHECK (n_bytes >= 0),
    sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
    PRIMARY KEY (run_id, kind, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    documents_digest TEXT NOT NULL,
    document         INTEGER NOT NULL,
    name             TEXT NOT NULL,
    n_words          INTEGER NOT NULL,
    n_bytes          INTEGER NOT NULL,
    PRIMARY KEY (documents_digest, document)
) STRICT, WITHOUT ROWID;
CREATE TABLE cells (
    cell_key            INTEGER PRIMARY KEY,
    cell_id             TEXT NOT NULL CHECK (length(cell_id) = 64),
    build_id            TEXT NOT NULL,
    model               TEXT NOT NULL,
    model_digest        TEXT NOT NULL,
    scope               TEXT NOT NULL,
    method              TEXT NOT NULL,
    spec                TEXT NOT NULL,
    identity            TEXT NOT NULL,
    calib               TEXT NOT NULL,
    task                TEXT NOT NULL,
    task_revision       INTEGER NOT NULL,
    dataset             TEXT NOT NULL,
    dataset_digest      TEXT NOT NULL,
    arithmetic          TEXT NOT NULL,
    arithmetic_revision INTEGER NOT NULL,
    seed                INTEGER NOT NULL,
    status              TEXT NOT NULL CHECK (status IN ('OK', 'FAILED')),
    reason              TEXT,
    message             TEXT,
    weights_digest      TEXT NOT NULL,
    documents_digest    TEXT,
    n_items             INTEGER NOT NULL,
    UNIQUE (cell_id, build_id)
) STRICT;
CREATE TABLE sizes (
    cell_key         INTEGER PRIMARY KEY REFERENCES cells ON DELETE CASCADE,
    n_weights        INTEGER NOT NULL,
    n_parameters     INTEGER NOT NULL,
    rest_bytes       INTEGER NOT NULL,
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
    bpw_matrices     REAL GENERATED ALWAYS AS (8.0 * matrices_bytes / n_weights) STORED,
    bpw_model        REAL GENERATED ALWAYS AS (8.0 * (matrices_bytes + rest_bytes) / n_parameters) STORED
) STRICT;
CREATE TABLE run_cells (
    run_id   INTEGER NOT NULL REFERENCES runs,
    cell_key INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    PRIMARY KEY (run_id, cell_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_cells_by_cell ON run_cells (cell_key);
CREATE TABLE items (
    cell_key        INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    item            INTEGER NOT NULL,
    document        INTEGER NOT NULL,
    n_tokens        INTEGER NOT NULL,
    sum_logp        REAL,
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
    kld             BLOB,
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
    note       TEXT,
    is_quality INTEGER NOT NULL CHECK (is_quality IN (0, 1)),
    PRIMARY KEY (cell_key, metric)
) STRICT, WITHOUT ROWID;
CREATE TABLE checks (
    cell_key   INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    check_name TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('PASS', 'FAIL', 'SKIPPED')),
    detail     TEXT,
    PRIMARY KEY (cell_key, check_name)
) STRICT, WITHOUT ROWID;
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
DROP VIEW IF EXISTS v_results;
DROP VIEW IF EXISTS v_checks;
DROP VIEW IF EXISTS v_claims;
CREATE VIEW v_results AS
SELECT run_cells.run_id, cells.build_id, cells.cell_id, cells.model, cells.method, cells.spec, cells.arithmetic,
       sizes.bpw_nominal, sizes.bpw_matrices, sizes.bpw_model,
       cells.task, cells.dataset, cells.n_items,
       metrics.metric, metrics.value, metrics.ci_low, metrics.ci_high, metrics.n,
       cells.status, cells.reason, cells.message,
       metrics.interval, metrics.note, cells.scope, cells.calib, cells.seed, cells.model_digest, cells.task_revision,
       cells.dataset_digest, cells.weights_digest, sizes.bpw_claimed,
       CASE cells.spec WHEN 'none' THEN 8.0 * sizes.model_file_bytes / sizes.n_parameters END AS bpw_disk,
       sizes.n_weights, sizes.n_parameters, sizes.matrices_bytes, sizes.rest_bytes,
       sizes.codes_bytes, sizes.scales_bytes, sizes.zeros_bytes, sizes.codebook_bytes, sizes.factors_bytes,
       sizes.tables_bytes, sizes.header_bytes, sizes.padding_bytes
FROM cells
JOIN run_cells USING (cell_key)
LEFT JOIN sizes USING (cell_key)
LEFT JOIN metrics USING (cell_key);
CREATE VIEW v_checks AS
SELECT cells.cell_id, cells.model, cells.spec, checks.check_name, checks.status, checks.detail,
       cells.build_id, cells.task
FROM checks JOIN cells USING (cell_key);
CREATE VIEW v_claims AS
SELECT claim_id, source, model, method, metric, claimed, measured, ci_low, ci_high, n, verdict, reason, note
FROM claims;
DROP VIEW IF EXISTS v_latest;
CREATE VIEW v_latest AS
SELECT * FROM (
    SELECT *, max(run_id) OVER (PARTITION BY model, scope, spec, calib, task, dataset, arithmetic, seed) AS newest
    FROM v_results)
WHERE run_id = newest;

INSERT INTO runs VALUES (1, 'b0', '2026-01-02T03:04:05.678Z', NULL, 'ucbench sweep', '{}');
INSERT INTO files VALUES (1, 'data', 'wiki', 9, printf('%064d', 9));
INSERT INTO documents VALUES (printf('%064d', 5), 0, 'Article 0', 10, 60);
INSERT INTO cells VALUES (1, printf('%064d', 1), 'b0', 'm', printf('%064d', 7), 'body', 'nf4', 'nf4', 'nf4', '', 'wikitext',
    1, 'wiki_mini', printf('%064d', 8), 'fp32', 1, 1, 'OK', NULL, NULL, printf('%064d', 6), printf('%064d', 5), 2);
INSERT INTO cells VALUES (2, printf('%064d', 2), 'b0', 'm', printf('%064d', 7), 'body', 'gptq', 'gptq', 'gptq', '',
    'wikitext', 1, 'wiki_mini', printf('%064d', 8), 'fp32', 1, 1, 'FAILED', 'UCB_UNSUPPORTED', 'no', '', NULL, 0);
INSERT INTO run_cells VALUES (1, 1), (1, 2);
INSERT INTO sizes (cell_key, n_weights, n_parameters, rest_bytes, model_file_bytes, bpw_nominal, codes_bytes, scales_bytes,
    zeros_bytes, codebook_bytes, factors_bytes, tables_bytes, header_bytes, padding_bytes)
    VALUES (1, 1000, 1100, 200, 2200, 4, 500, 60, 0, 0, 0, 0, 0, 0);
INSERT INTO items VALUES (1, 0, 0, 2, -3.5, 1, 1, 1, 1, 9, 1, 1, 1, 1, 0.25, 1.5, x'0000003e0000003e');
INSERT INTO items VALUES (1, 1, 0, 1, -1.5, 0, 1, 1, 1, 9, 0, 0, 1, 1, 0.5, 0.75, x'0000003f');
INSERT INTO metrics VALUES (1, 'kld_mean', 0.25, 0.125, 0.5, 1, 't-cluster', NULL, 1);
INSERT INTO checks VALUES (1, 'decode_deterministic', 'PASS', 'two decodes');
PRAGMA application_id = 0x75636272;
PRAGMA user_version = 1;
