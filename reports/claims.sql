-- claims.sql - what the checks of claims-map.csv may ask: the data files as tables, and what follows from shapes.
--
-- These tables live in a database of their own in memory, made anew by each `ucbench report claims`. After they are
-- filled nothing but SELECT is allowed there. Beside SQLite's own functions there is claim('R5-001'), the number that
-- claim prints, and the parameters :id :model :method :metric :setting :value of the claim being checked.

CREATE TABLE claims (
    claim_id TEXT PRIMARY KEY, source TEXT, system TEXT, model TEXT, method TEXT, setting_bpw TEXT, task TEXT, n TEXT,
    metric TEXT, value TEXT, unit TEXT, notes TEXT);
CREATE TABLE map (
    claims TEXT NOT NULL, metric TEXT, kind TEXT NOT NULL, model TEXT, spec TEXT, task TEXT, dataset TEXT, calib TEXT,
    measure TEXT,    scale REAL, tolerance REAL, slack REAL, relation TEXT, expression TEXT, honest TEXT, honest_label TEXT, why TEXT);
CREATE TABLE discrepancies (id TEXT PRIMARY KEY, text TEXT NOT NULL);

-- What the author's own result files say (printed precision), and the few measured constants the checks rest on.
CREATE TABLE raw (
    system TEXT NOT NULL, method TEXT NOT NULL, model TEXT NOT NULL, metric TEXT NOT NULL, value REAL NOT NULL,
    source TEXT NOT NULL, PRIMARY KEY (system, method, model, metric));

-- Public shapes. tied: one table is embedding and head; cohort: one of the six models of the head-to-head.
CREATE TABLE shapes (
    name TEXT PRIMARY KEY, claim_name TEXT NOT NULL, cohort INTEGER NOT NULL, layers INTEGER NOT NULL,
    hidden INTEGER NOT NULL, ffn INTEGER NOT NULL, heads INTEGER NOT NULL, kv_heads INTEGER NOT NULL,
    head_dim INTEGER NOT NULL, vocab INTEGER NOT NULL, tied INTEGER NOT NULL, experts INTEGER NOT NULL,
    parameters INTEGER NOT NULL, source TEXT NOT NULL);

-- The seven matrices of a layer, n_out x n_in.
CREATE VIEW matrices AS
SELECT name, layers, 'q' AS role, heads * head_dim AS n_out, hidden AS n_in FROM shapes
UNION ALL SELECT name, layers, 'k', kv_heads * head_dim, hidden FROM shapes
UNION ALL SELECT name, layers, 'v', kv_heads * head_dim, hidden FROM shapes
UNION ALL SELECT name, layers, 'o', hidden, heads * head_dim FROM shapes
UNION ALL SELECT name, layers * experts, 'gate', ffn, hidden FROM shapes
UNION ALL SELECT name, layers * experts, 'up', ffn, hidden FROM shapes
UNION ALL SELECT name, layers * experts, 'down', hidden, ffn FROM shapes;

-- body: weights of all those matrices; rest: every other parameter, a tied table once.
CREATE VIEW models AS
SELECT shapes.*, body, parameters - body AS rest, outputs, inputs, o_weights, vocab * hidden AS table_weights
FROM shapes JOIN (
    SELECT name, sum(layers * n_out * n_in) AS body, sum(layers * n_out) AS outputs, sum(layers * n_in) AS inputs,
           sum(CASE role WHEN 'o' THEN layers * n_out * n_in ELSE 0 END) AS o_weights
    FROM matrices GROUP BY name) USING (name);

-- The row overlay, by the seed's formula (effective) and with all that is written (full): 2.75 bits, 0.25 more for
-- o_proj; kept rows give their codes back and cost an index of 32 bits. A row scale and a column scale of 16 bits each
-- and the codebooks, 8 x 16 bits an entry, are what the formula leaves out.
CREATE VIEW kept AS
SELECT name, n_in, layers * round(0.001 * n_out) AS mixed16, layers * round(0.003 * n_out) AS mixed8,
       layers * max(1, round(0.005 * n_out)) AS fp8
FROM matrices;
CREATE VIEW overlay AS
SELECT name, cohort, base, mixed, fp8, unwritten, mixed + unwritten AS mixed_full, fp8 + unwritten AS fp8_full,
       ((mixed + unwritten) * body + 16.0 * rest) / parameters AS mixed_model,
       ((fp8 + unwritten) * body + 16.0 * rest) / parameters AS fp8_model,
       ((4 + 8.0 / 64 + 32.0 / (64 * 256)) * body + 16.0 * rest) / parameters AS nf4_model,
       ((4 + 32.0 / 64) * body + 16.0 * rest) / parameters AS hqq4_model
FROM (
    SELECT models.*, base,
           base + (sum(mixed16 * ((16 - base) * n_in + 32)) + sum(mixed8 * ((8 - base) * n_in + 48))) / body AS mixed,
           base + sum(fp8 * ((8 - base) * n_in + 48)) / body AS fp8,
           (16.0 * (outputs + inputs) + 8 * 16.0 * (6 * (4096 + 1024) + 8192 + 2048)) / body AS unwritten
    FROM (SELECT *, 2.75 + 0.25 * o_weights / body AS base FROM models) AS models JOIN kept USING (name)
    GROUP BY models.name);

-- GSQ in the v0.3 file: an fp32 scale for each block of 64; factors of rank 32 in fp32.
CREATE VIEW gsq AS
SELECT name, claim_name, body, rest, parameters, 32.0 / 64 AS scale_bits,
       32.0 * 32 * (outputs + inputs) / body AS factor_bits
FROM models;

-- The cohort's summary as the seed makes it: mean retention, median perplexity ratio (of six: the middle two's mean).
CREATE VIEW cohort AS
SELECT method, 't1_retention_mean' AS metric, avg(value) AS value FROM raw
WHERE system = 'head-to-head' AND metric = 't1_ret' GROUP BY method
UNION ALL
SELECT method, 'ppl_ratio_median', avg(value) FROM (
    SELECT method, value, row_number() OVER (PARTITION BY method ORDER BY value) AS place,
           count(*) OVER (PARTITION BY method) AS n
    FROM raw WHERE system = 'head-to-head' AND metric = 'ppl_ratio')
WHERE place IN ((n + 1) / 2, (n + 2) / 2) GROUP BY method;

-- FRR on Qwen3-1.7B: trainable parameters of width h.
CREATE VIEW frr AS
SELECT h, 2 * 2048 * h + 3 * h * h + h * h + 3 * h * h + 2 * h + 2 * 4 * h + 28 AS params
FROM (SELECT 128 AS h UNION ALL SELECT 256);
-- FRR of width 256 with an ASVD head of rank r; r = 0: the full head. counted: body and head; shipped: and what runs
-- it, the embedding (the head's own table where that is tied) and the last norm.
CREATE VIEW stack AS
SELECT label, r, params + head AS counted,
       params + hidden + table_weights + CASE r WHEN 0 THEN 0 ELSE head END AS shipped, parameters AS teacher
FROM (
    SELECT label, r, CASE r WHEN 0 THEN vocab * hidden ELSE r * (vocab + hidden) END AS head, params, hidden,
           table_weights, parameters
    FROM (SELECT 'HQ5 h256 + full head' AS label, 0 AS r UNION ALL SELECT 'HQ5 h256 + ASVD r=1024', 1024
          UNION ALL SELECT 'HQ5 h256 + ASVD r=512', 512 UNION ALL SELECT 'HQ5 h256 + ASVD r=256', 256)
    JOIN frr ON h = 256 JOIN models ON name = 'qwen3-1.7b');
