/*
 * store.h - results in SQLite: what is written is written whole, and nothing stored is ever
 * lost.
 *
 * One connection, one thread. Two processes may use one file: the second waits (and says so
 * after a while). Schema and views: db/schema.sql, db/README.md. IO names the file, what
 * was being written and the system's reason (full disk, read-only folder); CORRUPT: not a
 * database of this program, or of a newer schema.
 */
#ifndef UCB_STORE_STORE_H
#define UCB_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/err.h"
#include "core/sha256.h"
#include "eval/loader.h" /* struct ucb_layer_record */
#include "eval/metrics.h"
#include "task/task.h"

struct ucb_store;
struct sqlite3;

enum ucb_store_mode { UCB_STORE_READ, UCB_STORE_WRITE /* made and migrated when needed */ };
ucb_status ucb_store_open(const char *path, enum ucb_store_mode mode,
                          struct ucb_store **out, struct ucb_err *err);
void ucb_store_close(struct ucb_store *store); /* NULL is fine */
struct sqlite3 *
ucb_store_db(struct ucb_store *store); /* for reports, read only by convention */

/*
 * Between the two, all queries see the database at one instant, whatever others store
 * meanwhile; they wait for the end of it, so print nothing in between. end does nothing
 * where none began.
 */
ucb_status ucb_store_begin_read(struct ucb_store *store, struct ucb_err *err);
void ucb_store_end_read(struct ucb_store *store);

/* Everything a result depends on. The id is SHA-256 over the canonical text of these fields
 * (ucb_cell_identify). */
struct ucb_cell {
    char id[UCB_SHA256_HEX];
    const char *model; /* the name or path given, for people; not part of the id */
    const char *model_digest;
    const char *scope;    /* "body", "linear", "all" */
    const char *method;   /* name of the first stage; not part of the id */
    const char *spec;     /* canonical chain spec; not part of the id */
    const char *identity; /* ucb_chain_identity: part of the id */
    const char *calib;    /* ucb_calib_identity, "" for a chain that needs none */
    const char *task;     /* canonical task spec */
    uint32_t task_revision;
    const char *dataset; /* not part of the id */
    const char *dataset_digest;
    const char *arithmetic;
    uint32_t arithmetic_revision;
    uint64_t seed;
    /* Of a noise floor: the arithmetic of the original that the original in `arithmetic` is
     * compared with. NULL or "": the cell's own, and no part of the id. */
    const char *reference;
    uint32_t reference_revision;
};
void ucb_cell_identify(struct ucb_cell *cell);

/* Sizes of what a method wrote, and of the rest. Bits per weight are computed from these
 * when stored. */
struct ucb_sizes {
    uint64_t part_bytes[UCB_N_PARTS]; /* written for the matrices in scope */
    uint64_t n_weights;               /* in scope */
    uint64_t n_parameters;            /* of the model, tied tables once */
    uint64_t rest_bytes; /* everything outside the scope at the file's own size, headers
                            included */
    uint64_t model_file_bytes;
    double bpw_nominal;
    double bpw_claimed; /* what the seed's formula counts; 0: it has none */
};

struct ucb_cell_result {
    bool failed;
    const char *message; /* of a failed cell; otherwise a note (a caveat), or NULL */
    const char
        *reason; /* of a failed cell: ucb_status_name of what it failed with, or NULL */
    struct ucb_sizes sizes;
    char weights_digest[UCB_SHA256_HEX]; /* SHA-256 over the decoded matrices in scope, in
                                            model order, fp32 */
    double encode_seconds, decode_seconds, tokens_per_second;
    uint64_t peak_rss_bytes;
    const struct ucb_task *task;
    struct ucb_samples samples; /* n = 0 when failed */
    const struct ucb_items *items;
    const struct ucb_metric *metrics;
    size_t n_metrics;
    const struct ucb_layer_record *layers; /* [n_layers]; NULL: not known */
    size_t n_layers;
    const struct ucb_metric *costs; /* more of time and memory, outside the digest */
    size_t n_costs;
    struct {
        const char *name, *status, *detail;
    } checks[16]; /* status PASS FAIL SKIPPED; ended by a NULL name */
};

/* A run: one invocation of sweep under one build id. Environment: kernel path, threads,
 * CPU, versions, as JSON text. */
struct ucb_run_info {
    const char *build_id, *command_line, *environment_json;
};
ucb_status ucb_store_begin_run(struct ucb_store *store, const struct ucb_run_info *info,
                               int64_t *run_id, struct ucb_err *err);
ucb_status ucb_store_end_run(struct ucb_store *store, int64_t run_id, struct ucb_err *err);
/* File digests that the run used (model files, data files): path, size, SHA-256. */
ucb_status ucb_store_put_file(struct ucb_store *store, int64_t run_id, const char *kind,
                              const char *path, uint64_t n_bytes, const char *sha256,
                              struct ucb_err *err);

/* *found: a finished (not failed) row of this cell under this build id exists. */
ucb_status ucb_store_has_cell(struct ucb_store *store, const char *cell_id,
                              const char *build_id, bool *found, struct ucb_err *err);
/*
 * The cell, its items, metrics, layers and checks in one transaction. A failed row of the
 * same key is replaced; a finished one is kept and counted to the run when the new result
 * is equal or failed, and is CORRUPT when the new result differs.
 */
ucb_status ucb_store_put_cell(struct ucb_store *store, int64_t run_id, const char *build_id,
                              const struct ucb_cell *cell,
                              const struct ucb_cell_result *result, struct ucb_err *err);
/* Records that a run counts an already finished cell as its own. */
ucb_status ucb_store_adopt_cell(struct ucb_store *store, int64_t run_id,
                                const char *build_id, const char *cell_id,
                                struct ucb_err *err);
/* The grid detector's verdict on a model (model/grid.h), of one revision of its rule. */
struct ucb_stored_lattice {
    uint32_t revision;
    char source[96]; /* "" for dense weights; else the grid, in words */
    double share;    /* of the weights of matrices that lie on a grid */
};
ucb_status ucb_store_put_lattice(struct ucb_store *store, const char *model_digest,
                                 const struct ucb_stored_lattice *lattice,
                                 struct ucb_err *err);
/* *found: there is one of that revision. */
ucb_status ucb_store_get_lattice(struct ucb_store *store, const char *model_digest,
                                 uint32_t revision, bool *found,
                                 struct ucb_stored_lattice *out, struct ucb_err *err);

/*
 * Canonical digest of all results: SHA-256 over cells and items sorted by key (keys,
 * status, counts, quality values as IEEE bits); no run id, time, memory, message or host.
 */
ucb_status ucb_store_digest(struct ucb_store *store, char hex[UCB_SHA256_HEX],
                            struct ucb_err *err);

#endif
