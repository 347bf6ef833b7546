/*
 * Every operation of the store, with every call that changes a file failing in turn: the
 * disk is full, the disk is broken, a write is short, the power goes. Whatever happens, the
 * database then opens, is sound, holds what it held before or all of the new, and the same
 * operation succeeds. What a kill -9 leaves is what FIRE_IO_ON leaves: the calls before it,
 * and none after.
 */
#include "test.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "core/file.h"
#include "fault/fire.h"
#include "fault/fire_vfs.h"
#include "made_up.h"
#include "store/store_internal.h"

#define BUILD "b1"

/* What fails, on which base. */
struct operation {
    void (*prepare)(const char *path); /* makes the database before; may make none */
    bool opens;                        /* the operation opens the file itself */
    bool slow;                         /* every 7th call only, but in `make fire` */
    bool adds;                         /* done twice it leaves more than done once */
    ucb_status (*run)(const char *path, struct ucb_store *store, struct ucb_err *err);
    const char *says[6]; /* the message holds one of these */
};

/* ---- what a database holds ---- */

static void hash_row(struct ucb_sha256 *h, sqlite3_stmt *row)
{
    for (int i = 0; i < sqlite3_column_count(row); i++) {
        const char *name = sqlite3_column_name(row, i);
        int type = sqlite3_column_type(row, i);
        bool when = strcmp(name, "started") == 0 || strcmp(name, "ended") == 0;
        int n = sqlite3_column_bytes(row, i);
        int head[2] = {type, when ? 0 : n};
        ucb_sha256_update(h, head, sizeof(head));
        if (!when && n > 0) ucb_sha256_update(h, sqlite3_column_blob(row, i), (size_t)n);
    }
}

static void hash_query(struct ucb_sha256 *h, sqlite3 *db, const char *sql)
{
    sqlite3_stmt *rows = NULL;
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &rows, NULL), SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) hash_row(h, rows);
    CHECK_EQ(sqlite3_finalize(rows), SQLITE_OK);
}

static void check_answer(sqlite3 *db, const char *sql, const char *expected)
{
    sqlite3_stmt *row = NULL;
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(row), SQLITE_ROW);
    CHECK_TEXT((const char *)sqlite3_column_text(row, 0), expected);
    sqlite3_finalize(row);
}

/* SHA-256 over every row of every table but times, with the schema. The file is sound. */
static void state_of(const char *path, char hex[UCB_SHA256_HEX])
{
    struct ucb_sha256 h;
    sqlite3 *db = NULL;
    sqlite3_stmt *tables = NULL;
    ucb_sha256_init(&h);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    check_answer(db, "SELECT group_concat(integrity_check) FROM pragma_integrity_check",
                 "ok");
    check_answer(db, "SELECT count(*) FROM pragma_foreign_key_check", "0");
    hash_query(&h, db, "PRAGMA user_version");
    hash_query(&h, db, "SELECT type, name, sql FROM sqlite_master ORDER BY type, name");
    CHECK_EQ(sqlite3_prepare_v2(db,
                                "SELECT 'SELECT * FROM ' || name || ' ORDER BY 1, 2' FROM"
                                " sqlite_master WHERE type = 'table' ORDER BY name",
                                -1, &tables, NULL),
             SQLITE_OK);
    while (sqlite3_step(tables) == SQLITE_ROW)
        hash_query(&h, db, (const char *)sqlite3_column_text(tables, 0));
    sqlite3_finalize(tables);
    sqlite3_close(db);
    ucb_sha256_final_hex(&h, hex);
}

/* ---- a database and its journal, put aside and put back ---- */

struct image {
    uint8_t *data[2];
    size_t n_bytes[2];
    bool exists[2];
};

static const char *part(const char *path, int i)
{
    return i == 0 ? path : ucb_test_path("%s-journal", path);
}

static void take_image(const char *path, struct image *image)
{
    for (int i = 0; i < 2; i++) {
        struct ucb_file file;
        image->exists[i] = ucb_file_map(part(path, i), &file, NULL) == UCB_OK;
        if (!image->exists[i]) continue;
        image->n_bytes[i] = file.n_bytes;
        image->data[i] = malloc(file.n_bytes + 1);
        CHECK(image->data[i] != NULL);
        if (file.n_bytes > 0) memcpy(image->data[i], file.data, file.n_bytes);
        ucb_file_unmap(&file);
    }
}

static void free_image(struct image *image)
{
    for (int i = 0; i < 2; i++) free(image->data[i]);
    *image = (struct image){0};
}

static void put_image(const char *path, const struct image *image)
{
    for (int i = 0; i < 2; i++) {
        unlink(part(path, i));
        if (!image->exists[i]) continue;
        FILE *file = fopen(part(path, i), "wb");
        CHECK(file != NULL &&
              fwrite(image->data[i], 1, image->n_bytes[i], file) == image->n_bytes[i]);
        CHECK_EQ(fclose(file), 0);
    }
}

/* ---- one operation, every call, every way to fail ---- */

struct trial {
    const struct operation *op;
    const char *path;
    struct image base;
    char before[UCB_SHA256_HEX], after[UCB_SHA256_HEX], now[UCB_SHA256_HEX];
    enum fire_kind kind;
    uint64_t n;
};

static struct ucb_store *open_store(const char *path)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    return store;
}

static void check_message(const struct trial *t, const char *text)
{
    bool said = false;
    for (size_t i = 0; i < 6 && t->op->says[i] != NULL; i++)
        said |= strstr(text, t->op->says[i]) != NULL;
    bool reason = strstr(text, "is full") != NULL || strstr(text, "I/O error") != NULL ||
                  strstr(text, "unable to open") != NULL;
    if (said && reason && strstr(text, "work.db: ") != NULL) return;
    ucb_test_fail(__FILE__, __LINE__, "%s at call %llu: the message is \"%s\"",
                  fire_kind_name(t->kind), (unsigned long long)t->n, text);
}

/* Holds the state against before and after; `done`: only after will do. */
static bool is_after(struct trial *t, bool done, const char *when)
{
    state_of(t->path, t->now);
    if (strcmp(t->now, t->after) == 0) return true;
    if (!done && strcmp(t->now, t->before) == 0) return false;
    ucb_test_fail(__FILE__, __LINE__, "%s at call %llu: %s, the database holds %s",
                  fire_kind_name(t->kind), (unsigned long long)t->n, when,
                  strcmp(t->now, t->before) == 0 ? "what it held before"
                                                 : "neither the old state nor the new");
}

/* The operation again, with a disk that works. */
static void retry(struct trial *t, struct ucb_store *store, bool was_done)
{
    struct ucb_err err;
    struct ucb_store *own = store == NULL && !t->op->opens ? open_store(t->path) : NULL;
    CHECK_OK(t->op->run(t->path, own != NULL ? own : store, &err), err);
    ucb_store_close(own);
    ucb_store_close(store);
    if (!(was_done && t->op->adds)) is_after(t, true, "done again");
}

/* False when the operation has no n-th call. */
static bool try_once(struct trial *t)
{
    struct ucb_err err = {0};
    bool cut = t->kind == FIRE_CUT_DROP || t->kind == FIRE_CUT_MIX;
    put_image(t->path, &t->base);
    struct ucb_store *store = t->op->opens ? NULL : open_store(t->path);
    fire_vfs_arm(t->kind, t->n);
    ucb_status status = t->op->run(t->path, store, &err);
    /* Of two trials one goes on with the same connection, as a sweep after a failed cell,
     * and one is closed while the disk still fails, as a process that gives up. */
    bool stays = !cut && status != UCB_OK && store != NULL && t->n % 2 == 0;
    if (!stays) {
        ucb_store_close(store);
        store = NULL;
    }
    bool hit = fire_vfs_disarm();
    if (cut) fire_vfs_cut(t->kind, t->n);
    if (status != UCB_OK) check_message(t, err.text);
    if (!hit) CHECK_OK(status, err);
    bool done = stays ? false : is_after(t, status == UCB_OK, "after the failure");
    retry(t, store, done || stays);
    return hit;
}

static void try_everything(const struct operation *op)
{
    struct trial t = {.op = op, .path = ucb_test_path("%s/work.db", ucb_test_folder())};
    static char path[1024];
    struct ucb_err err;
    uint64_t n_trials = 0, stride = op->slow && !fire_is_long() ? 7 : 1;
    snprintf(path, sizeof(path), "%s", t.path); /* outlives the rotating buffers */
    t.path = path;
    fire_vfs_install();
    op->prepare(path);
    take_image(path, &t.base);
    state_of(path, t.before); /* a hot journal is rolled back by this */
    put_image(path, &t.base);
    struct ucb_store *store = op->opens ? NULL : open_store(path);
    CHECK_OK(op->run(path, store, &err), err);
    ucb_store_close(store);
    state_of(path, t.after);
    for (int kind = 0; kind < FIRE_N_KINDS; kind++) {
        t.kind = (enum fire_kind)kind;
        for (t.n = 1; try_once(&t); t.n += stride) n_trials++;
        CHECK(t.n > 1); /* something was written, and failed */
    }
    printf(" %llu injections", (unsigned long long)n_trials);
    free_image(&t.base);
}

/* ---- the operations ---- */

static const struct ucb_run_info info = {BUILD, "ucbench sweep", "{}"};
static int64_t last_run; /* of the base */

static void no_database(const char *path)
{
    unlink(path);
}

/* One run with three cells: the original, an nf4, and a failed gptq. */
static ucb_status put_point(struct ucb_store *store, const char *spec, uint64_t seed,
                            bool failed, bool layers, struct ucb_err *err)
{
    static const struct ucb_layer_record records[] = {
        {.seconds = 1.5,
         .peak_rss_bytes = 7,
         .is_tuned = true,
         .loss_before = 2,
         .loss_after = 1},
        {.seconds = 2.5, .peak_rss_bytes = 9}};
    const struct made_up_point *point = made_up_points(true);
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    while (strcmp(point->spec, spec) != 0) point++;
    ucb_arena_init(&arena);
    made_up_cell(&arena, point, "m", "wikitext", &cell, &result);
    cell.seed = seed;
    ucb_cell_identify(&cell);
    if (failed)
        result = (struct ucb_cell_result){
            .failed = true, .message = "no", .reason = "UCB_UNSUPPORTED"};
    if (layers) {
        result.layers = records;
        result.n_layers = 2;
    }
    ucb_status status = ucb_store_put_cell(store, last_run, BUILD, &cell, &result, err);
    ucb_arena_free(&arena);
    return status;
}

static void small_database(const char *path)
{
    struct ucb_err err;
    struct ucb_store *store = open_store(path);
    int64_t first;
    CHECK_OK(ucb_store_begin_run(store, &info, &first, &err), err);
    last_run = first;
    CHECK_OK(put_point(store, "none", 1, false, false, &err), err);
    CHECK_OK(put_point(store, "nf4", 1, false, false, &err), err);
    CHECK_OK(put_point(store, "int8", 1, true, false, &err), err);
    CHECK_OK(ucb_store_begin_run(store, &info, &last_run, &err), err);
    ucb_store_close(store);
}

/* Killed at the last call before the new state counts: all is written, and the journal that
 * takes it back is still there. */
static void database_with_a_hot_journal(const char *path)
{
    struct image base = {0}, hot = {0};
    ucb_status status = UCB_IO;
    small_database(path);
    take_image(path, &base);
    for (uint64_t n = 1; status != UCB_OK; n++) {
        struct ucb_err err;
        put_image(path, &base);
        struct ucb_store *store = open_store(path);
        fire_vfs_arm(FIRE_IO_ON, n);
        status = put_point(store, "nf4", 2, false, false, &err);
        ucb_store_close(store);
        fire_vfs_disarm();
        if (status == UCB_OK) continue;
        free_image(&hot);
        take_image(path, &hot);
    }
    CHECK(hot.exists[1] && hot.n_bytes[1] > 4096);
    CHECK(hot.n_bytes[0] != base.n_bytes[0] ||
          memcmp(hot.data[0], base.data[0], base.n_bytes[0]) != 0);
    put_image(path, &hot);
    free_image(&base);
    free_image(&hot);
}

static ucb_status run_open(const char *path, struct ucb_store *store, struct ucb_err *err)
{
    struct ucb_store *opened = NULL;
    (void)store;
    UCB_TRY(ucb_store_open(path, UCB_STORE_WRITE, &opened, err));
    ucb_store_close(opened);
    return UCB_OK;
}

static ucb_status run_open_to_read(const char *path, struct ucb_store *store,
                                   struct ucb_err *err)
{
    struct ucb_store *opened = NULL;
    (void)store;
    UCB_TRY(ucb_store_open(path, UCB_STORE_READ, &opened, err));
    ucb_store_close(opened);
    return UCB_OK;
}

static ucb_status run_begin(const char *path, struct ucb_store *store, struct ucb_err *err)
{
    int64_t run_id;
    (void)path;
    return ucb_store_begin_run(store, &info, &run_id, err);
}

static ucb_status run_end(const char *path, struct ucb_store *store, struct ucb_err *err)
{
    (void)path;
    return ucb_store_end_run(store, last_run, err);
}

static ucb_status run_put(const char *path, struct ucb_store *store, struct ucb_err *err)
{
    (void)path;
    return put_point(store, "nf4", 2, false, false, err);
}

static ucb_status run_put_over_failed(const char *path, struct ucb_store *store,
                                      struct ucb_err *err)
{
    (void)path;
    return put_point(store, "int8", 1, false, false, err);
}

static ucb_status run_put_again(const char *path, struct ucb_store *store,
                                struct ucb_err *err)
{
    (void)path;
    return put_point(store, "nf4", 1, false, false, err);
}

static ucb_status run_put_layers(const char *path, struct ucb_store *store,
                                 struct ucb_err *err)
{
    (void)path;
    return put_point(store, "fp4", 1, false, true, err);
}

static ucb_status run_put_failed(const char *path, struct ucb_store *store,
                                 struct ucb_err *err)
{
    (void)path;
    return put_point(store, "fp4", 1, true, false, err);
}

static ucb_status run_adopt(const char *path, struct ucb_store *store, struct ucb_err *err)
{
    struct ucb_arena arena;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    (void)path;
    ucb_arena_init(&arena);
    made_up_cell(&arena, &made_up_points(true)[0], "m", "wikitext", &cell, &result);
    ucb_status status = ucb_store_adopt_cell(store, last_run, BUILD, cell.id, err);
    ucb_arena_free(&arena);
    return status;
}

static ucb_status run_put_file(const char *path, struct ucb_store *store,
                               struct ucb_err *err)
{
    char hex[UCB_SHA256_HEX];
    (void)path;
    ucb_sha256_hex("x", 1, hex);
    return ucb_store_put_file(store, last_run, "data", "a/b.txt", 1, hex, err);
}

static ucb_status run_put_lattice(const char *path, struct ucb_store *store,
                                  struct ucb_err *err)
{
    static const struct ucb_stored_lattice found = {1, "16 values per block of 32", 0.5};
    char hex[UCB_SHA256_HEX];
    (void)path;
    ucb_sha256_hex("m", 1, hex);
    return ucb_store_put_lattice(store, hex, &found, err);
}

/* The verb: measures, replaces the rows, writes its files. What it prints is left out. */
static ucb_status run_claims(const char *path, struct ucb_store *store, struct ucb_err *err)
{
    char db[1024], out[1024];
    char *args[] = {"report", "claims", "--db", db, "--out", out};
    (void)store;
    snprintf(db, sizeof(db), "%s", path);
    snprintf(out, sizeof(out), "%s/claims", ucb_test_folder());
    fflush(stdout);
    int saved[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    int nowhere = open("/dev/null", O_WRONLY);
    CHECK(nowhere >= 0);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    ucb_status status = ucb_command_report.run(6, args, err);
    fflush(stdout);
    dup2(saved[0], STDOUT_FILENO);
    dup2(saved[1], STDERR_FILENO);
    close(saved[0]);
    close(saved[1]);
    close(nowhere);
    return status;
}

#define CELL_SAYS                                             \
    {                                                         \
        "cannot store a cell", "cannot count a cell to a run" \
    }

/* ---- the tests ---- */

TEST(a_new_database_is_made_whole_or_not_at_all)
{
    try_everything(&(struct operation){.prepare = no_database,
                                       .opens = true,
                                       .run = run_open,
                                       .says = {"cannot make the tables", "cannot open it",
                                                "cannot read", "cannot set up"}});
}

TEST(a_migration_from_the_first_schema_is_done_whole_or_not_at_all)
{
    try_everything(&(struct operation){
        .prepare = fire_old_database,
        .opens = true,
        .run = run_open,
        .says = {"cannot make the tables", "cannot bring the tables to a newer schema"}});
}

TEST(rolling_back_what_a_kill_left_can_itself_fail_and_be_done_again)
{
    try_everything(&(struct operation){.prepare = database_with_a_hot_journal,
                                       .opens = true,
                                       .run = run_open,
                                       .says = {"cannot read", "cannot set up"}});
}

TEST(a_reader_too_rolls_back_what_a_kill_left)
{
    try_everything(&(struct operation){.prepare = database_with_a_hot_journal,
                                       .opens = true,
                                       .run = run_open_to_read,
                                       .says = {"cannot read"}});
}

TEST(a_run_begins_once_or_not_at_all)
{
    try_everything(&(struct operation){.prepare = small_database,
                                       .adds = true,
                                       .run = run_begin,
                                       .says = {"cannot store a run"}});
}

TEST(a_run_ends_or_stays_open)
{
    try_everything(&(struct operation){.prepare = small_database,
                                       .run = run_end,
                                       .says = {"cannot store the end of a run"}});
}

TEST(a_cell_is_stored_whole_or_not_at_all)
{
    try_everything(
        &(struct operation){.prepare = small_database, .run = run_put, .says = CELL_SAYS});
}

TEST(a_cell_takes_the_place_of_a_failed_one_whole_or_not_at_all)
{
    try_everything(&(struct operation){
        .prepare = small_database, .run = run_put_over_failed, .says = CELL_SAYS});
}

TEST(an_equal_cell_is_compared_and_adopted_or_nothing_changes)
{
    try_everything(&(struct operation){
        .prepare = small_database, .run = run_put_again, .says = CELL_SAYS});
}

TEST(a_cell_with_layers_is_stored_whole_or_not_at_all)
{
    try_everything(&(struct operation){
        .prepare = small_database, .run = run_put_layers, .says = CELL_SAYS});
}

TEST(a_failed_cell_is_stored_whole_or_not_at_all)
{
    try_everything(&(struct operation){
        .prepare = small_database, .run = run_put_failed, .says = CELL_SAYS});
}

TEST(a_finished_cell_is_adopted_or_not)
{
    try_everything(&(struct operation){
        .prepare = small_database, .run = run_adopt, .says = {"cannot count a cell"}});
}

TEST(the_digest_of_a_file_is_stored_or_not)
{
    try_everything(&(struct operation){.prepare = small_database,
                                       .run = run_put_file,
                                       .says = {"cannot store the digest of a file"}});
}

TEST(the_verdict_on_a_grid_is_stored_or_not)
{
    try_everything(&(struct operation){.prepare = small_database,
                                       .run = run_put_lattice,
                                       .says = {"cannot store what was found in a model"}});
}

TEST(the_claims_are_replaced_whole_or_not_at_all)
{
    try_everything(&(struct operation){.prepare = small_database,
                                       .opens = true,
                                       .slow = true,
                                       .run = run_claims,
                                       .says = {"cannot store the claims"}});
}
