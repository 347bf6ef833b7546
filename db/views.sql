-- views.sql - the stable views. The columns up to `message`, `detail` and `note` keep their names and order for
-- ever; new ones come after them. Dropped and made anew whenever the schema is made or migrated.

DROP VIEW IF EXISTS v_results;
DROP VIEW IF EXISTS v_checks;
DROP VIEW IF EXISTS v_claims;
DROP VIEW IF EXISTS v_layers;

-- One row per run, cell and metric. A failed cell is one row whose metric is NULL. What scored nothing (the checks
-- of `ucbench verify`) is no result: it stands in v_checks alone.
CREATE VIEW v_results AS
SELECT run_cells.run_id, cells.build_id, cells.cell_id, cells.model, cells.method, cells.spec, cells.arithmetic,
       sizes.bpw_nominal, sizes.bpw_matrices, sizes.bpw_model,
       cells.task, cells.dataset, cells.n_items,
       metrics.metric, metrics.value, metrics.ci_low, metrics.ci_high, metrics.n,
       cells.status, cells.reason, cells.message,
       -- since schema 1, beyond the promised columns
       metrics.interval, metrics.note, cells.scope, cells.calib, cells.seed, cells.model_digest, cells.task_revision,
       cells.dataset_digest, cells.weights_digest, sizes.bpw_claimed,
       -- Only the original has files to count; a compressed model has none until it is packed.
       CASE cells.spec WHEN 'none' THEN 8.0 * sizes.model_file_bytes / sizes.n_parameters END AS bpw_disk,
       sizes.n_weights, sizes.n_parameters, sizes.matrices_bytes, sizes.rest_bytes,
       sizes.codes_bytes, sizes.scales_bytes, sizes.zeros_bytes, sizes.codebook_bytes, sizes.factors_bytes,
       sizes.tables_bytes, sizes.header_bytes, sizes.padding_bytes,
       -- 1: the method was calibrated on a text that tasks are scored on (sweep --compat).
       cells.calib LIKE 'wikitext-test:%' AS contaminated,
       -- since schema 2. '': dense weights; NULL: nobody has looked
       models.lattice_source, models.lattice_share,
       -- since schema 4. '', or the arithmetic of the original that a noise-floor cell is compared with
       cells.reference
FROM cells
JOIN run_cells USING (cell_key)
LEFT JOIN models USING (model_digest)
LEFT JOIN sizes USING (cell_key)
LEFT JOIN metrics USING (cell_key)
WHERE cells.status <> 'OK' OR cells.n_items > 0;

CREATE VIEW v_checks AS
SELECT cells.cell_id, cells.model, cells.spec, checks.check_name, checks.status, checks.detail,
       cells.build_id, cells.task
FROM checks JOIN cells USING (cell_key);

CREATE VIEW v_claims AS
SELECT claim_id, source, model, method, metric, claimed, measured, ci_low, ci_high, n, verdict, reason, note
FROM claims;

CREATE VIEW v_layers AS
SELECT cells.cell_id, cells.build_id, cells.model, cells.spec, cells.calib, cells.task,
       layers.layer, layers.seconds, layers.peak_rss_bytes, layers.loss_before, layers.loss_after
FROM layers JOIN cells USING (cell_key);

-- One row per scored item, in the names of the statistics' specification.
DROP VIEW IF EXISTS v_items;
CREATE VIEW v_items AS
SELECT cells.cell_id, cells.build_id, cells.model, cells.spec, cells.arithmetic, cells.task,
       items.item AS item_id, items.document AS document_id, items.n_tokens, items.sum_logp,
       items.t1_gt_hits, items.t10_gt_hits, items.t1_agree_hits, items.t10_agree_hits, items.t10_overlap_sum,
       items.target_correct, items.kld_sum, items.ear_sum, items.kld, documents.name AS document_name
FROM items JOIN cells USING (cell_key)
LEFT JOIN documents ON documents.documents_digest = cells.documents_digest AND documents.document = items.document;

-- What reports show: of results that differ only in build or revision, the newest run's.
DROP VIEW IF EXISTS v_latest;
CREATE VIEW v_latest AS
SELECT * FROM (
    SELECT *, max(run_id) OVER (PARTITION BY model, scope, spec, calib, task, dataset, arithmetic, reference, seed) AS newest
    FROM v_results)
WHERE run_id = newest;
