-- 003_layers.sql - a table of what each layer cost and what tuning did to it; cells of before have no rows in it.
CREATE TABLE layers (
    cell_key       INTEGER NOT NULL REFERENCES cells ON DELETE CASCADE,
    layer          INTEGER NOT NULL,
    seconds        REAL NOT NULL,                -- to make its bytes, by the run that made them
    peak_rss_bytes INTEGER NOT NULL,             -- most resident memory of the process until the layer had run
    loss_before    REAL,                         -- NULL: nothing was tuned
    loss_after     REAL,
    PRIMARY KEY (cell_key, layer)
) STRICT, WITHOUT ROWID;
