/* Store: what is put in comes out, the views keep their columns, and the digest is of
 * results and nothing else. */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "fault/fire.h"
#include "made_up.h"
#include "store/store_internal.h"
#include "store/store_read.h"

#define BUILD "b1"

/* A store, a run, and a cell that can be changed before it is put. */
struct bench {
    struct ucb_store *store;
    struct ucb_arena arena;
    int64_t run_id;
    struct ucb_cell cell;
    struct ucb_cell_result result;
    struct ucb_err err;
};

static void bench_open(struct bench *b, const char *name)
{
    struct ucb_run_info info = {BUILD, "ucbench sweep", NULL};
    *b = (struct bench){0};
    ucb_arena_init(&b->arena);
    const char *path = ucb_test_path("%s/%s", ucb_test_folder(), name);
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &b->store, &b->err), b->err);
    CHECK_OK(ucb_store_begin_run(b->store, &info, &b->run_id, &b->err), b->err);
    made_up_cell(&b->arena, &made_up_points(false)[2], "m", "lambada", &b->cell,
                 &b->result);
}

static ucb_status bench_put(struct bench *b)
{
    return ucb_store_put_cell(b->store, b->run_id, BUILD, &b->cell, &b->result, &b->err);
}

static void bench_close(struct bench *b)
{
    ucb_store_close(b->store);
    ucb_arena_free(&b->arena);
}

/* The only column of the only row of a query, as text; "" for NULL. */
static const char *ask(struct ucb_store *store, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    CHECK_EQ(sqlite3_prepare_v2(ucb_store_db(store), sql, -1, &statement, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(statement), SQLITE_ROW);
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    const char *copy = ucb_test_path("%s", text == NULL ? "" : text);
    CHECK_EQ(sqlite3_step(statement), SQLITE_DONE);
    sqlite3_finalize(statement);
    return copy;
}

static const char *digest_of(struct ucb_store *store)
{
    char hex[UCB_SHA256_HEX];
    struct ucb_err err;
    CHECK_OK(ucb_store_digest(store, hex, &err), err);
    return ucb_test_path("%s", hex);
}

TEST(a_stored_item_comes_back_to_the_bit)
{
    struct bench b;
    sqlite3_stmt *rows = NULL;
    bench_open(&b, "r.db");
    CHECK_OK(bench_put(&b), b.err);
    CHECK_EQ(sqlite3_prepare_v2(
                 ucb_store_db(b.store),
                 "SELECT sum_logp, kld_sum, kld, document, t1_agree_hits, n_tokens"
                 " FROM items ORDER BY item",
                 -1, &rows, NULL),
             SQLITE_OK);
    for (size_t i = 0; i < b.result.samples.n; i++) {
        const struct ucb_sample *s = &b.result.samples.samples[i];
        CHECK_EQ(sqlite3_step(rows), SQLITE_ROW);
        CHECK(sqlite3_column_double(rows, 0) == s->sum_logp);
        CHECK(sqlite3_column_double(rows, 1) == s->kld_sum);
        CHECK_EQ(sqlite3_column_bytes(rows, 2), s->n_tokens * sizeof(float));
        CHECK(memcmp(sqlite3_column_blob(rows, 2), s->kld, s->n_tokens * sizeof(float)) ==
              0);
        CHECK_EQ(sqlite3_column_int(rows, 3), b.result.samples.document[i]);
        CHECK_EQ(sqlite3_column_int(rows, 4), s->t1_agree_hits);
    }
    CHECK_EQ(sqlite3_step(rows), SQLITE_DONE);
    sqlite3_finalize(rows);
    CHECK_TEXT(ask(b.store, "SELECT name FROM documents WHERE document = 3"), "Article 3");
    bench_close(&b);
}

TEST(the_original_has_no_divergences_to_store)
{
    struct bench b;
    bench_open(&b, "n.db");
    made_up_cell(&b.arena, &made_up_points(false)[0], "m", "lambada", &b.cell, &b.result);
    CHECK_TEXT(b.cell.spec, "none");
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(ask(b.store, "SELECT count(*) = 36 AND count(kld) = 0 FROM items"), "1");
    CHECK_OK(bench_put(&b), b.err); /* found equal: NULL has its place in the digest */
    bench_close(&b);
}

TEST(views_have_the_promised_columns_in_the_promised_order)
{
    struct bench b;
    bench_open(&b, "v.db");
    CHECK_HAS(
        ask(b.store, "SELECT group_concat(name) FROM pragma_table_info('v_results')"),
        "run_id,build_id,cell_id,model,method,spec,arithmetic,bpw_nominal,bpw_matrices,bpw_model,task,dataset,"
        "n_items,metric,value,ci_low,ci_high,n,status,reason,message,");
    CHECK_HAS(ask(b.store, "SELECT group_concat(name) FROM pragma_table_info('v_checks')"),
              "cell_id,model,spec,check_name,status,detail");
    CHECK_TEXT(
        ask(b.store, "SELECT group_concat(name) FROM pragma_table_info('v_claims')"),
        "claim_id,source,model,method,metric,claimed,measured,ci_low,ci_high,n,verdict,reason,note");
    bench_close(&b);
}

TEST(bits_per_weight_follow_from_the_bytes)
{
    struct bench b;
    bench_open(&b, "s.db");
    memset(&b.result.sizes, 0, sizeof(b.result.sizes));
    b.result.sizes.part_bytes[UCB_PART_CODES] = 100;
    b.result.sizes.part_bytes[UCB_PART_PADDING] = 20;
    b.result.sizes.n_weights = 240;    /* 8 * 120 / 240 = 4 */
    b.result.sizes.n_parameters = 400; /* 8 * (120 + 80) / 400 = 4 */
    b.result.sizes.rest_bytes = 80;
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(ask(b.store, "SELECT DISTINCT bpw_matrices FROM v_results"), "4.0");
    CHECK_TEXT(ask(b.store, "SELECT DISTINCT bpw_model FROM v_results"), "4.0");
    CHECK_TEXT(
        ask(b.store,
            "SELECT DISTINCT bpw_claimed IS NULL AND bpw_disk IS NULL FROM v_results"),
        "1");
    bench_close(&b);
}

TEST(costs_are_metrics_without_intervals)
{
    struct bench b;
    bench_open(&b, "c.db");
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(
        ask(b.store,
            "SELECT group_concat(metric || '=' || value || '/' || n, ' ') FROM (SELECT * FROM v_results"
            " WHERE metric IN ('encode_seconds', 'decode_seconds', 'tokens_per_second', 'peak_rss_bytes')"
            " AND ci_low IS NULL AND ci_high IS NULL ORDER BY metric)"),
        "decode_seconds=0.5/1 encode_seconds=1.5/1 peak_rss_bytes=419430400.0/1 tokens_per_second=900.0/1");
    CHECK_TEXT(
        ask(b.store,
            "SELECT ci_low IS NULL AND interval = 'none' FROM v_results WHERE metric = 'kld_p99'"),
        "1");
    bench_close(&b);
}

TEST(a_failed_cell_is_one_row_with_its_message)
{
    struct bench b;
    bench_open(&b, "f.db");
    b.result = (struct ucb_cell_result){
        .failed = true, .message = "no memory", .reason = "UCB_NOMEM"};
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(
        ask(b.store,
            "SELECT status || '|' || reason || '|' || message || '|' || (metric IS NULL) FROM v_results"),
        "FAILED|UCB_NOMEM|no memory|1");
    bool found = true;
    CHECK_OK(ucb_store_has_cell(b.store, b.cell.id, BUILD, &found, &b.err), b.err);
    CHECK(!found);
    CHECK_STATUS(ucb_store_adopt_cell(b.store, b.run_id, BUILD, b.cell.id, &b.err),
                 UCB_USAGE, b.err);
    bench_close(&b);
}

TEST(a_result_replaces_a_failure_and_a_failure_never_a_result)
{
    struct bench b;
    bench_open(&b, "x.db");
    struct ucb_cell_result good = b.result, bad = {.failed = true, .message = "killed"};
    b.result = bad;
    CHECK_OK(bench_put(&b), b.err);
    b.result = good;
    CHECK_OK(bench_put(&b), b.err);
    const char *digest = digest_of(b.store);
    b.result = bad;
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(ask(b.store, "SELECT group_concat(status) FROM cells"), "OK");
    CHECK_TEXT(digest_of(b.store), digest);
    bench_close(&b);
}

TEST(a_second_equal_result_is_adopted_and_a_different_one_refused)
{
    struct bench b;
    bench_open(&b, "y.db");
    CHECK_OK(bench_put(&b), b.err);
    const char *digest = digest_of(b.store);
    b.result.encode_seconds = 99; /* a time is not part of a result */
    CHECK_OK(bench_put(&b), b.err);
    b.result.sizes.rest_bytes++;
    CHECK_STATUS(bench_put(&b), UCB_CORRUPT, b.err);
    CHECK_HAS(b.err.text, "already stored another result");
    CHECK_TEXT(digest_of(b.store), digest);
    CHECK_TEXT(ask(b.store, "SELECT count(*) FROM cells"), "1");
    CHECK_TEXT(ask(b.store, "SELECT value FROM v_results WHERE metric = 'encode_seconds'"),
               "1.5");
    bench_close(&b);
}

TEST(an_adopted_cell_appears_under_both_runs)
{
    struct bench b;
    struct ucb_run_info info = {BUILD, "again", "{}"};
    int64_t second;
    bench_open(&b, "a.db");
    CHECK_OK(bench_put(&b), b.err);
    CHECK_OK(ucb_store_begin_run(b.store, &info, &second, &b.err), b.err);
    CHECK_OK(ucb_store_adopt_cell(b.store, second, BUILD, b.cell.id, &b.err), b.err);
    CHECK_OK(ucb_store_adopt_cell(b.store, second, BUILD, b.cell.id, &b.err), b.err);
    CHECK_TEXT(
        ask(b.store, "SELECT group_concat(run_id) FROM v_results WHERE metric = 'ppl'"),
        "1,2");
    bench_close(&b);
}

TEST(the_digest_does_not_depend_on_insertion_order)
{
    struct ucb_store *one = NULL, *two = NULL;
    struct ucb_err err;
    const char *a = ucb_test_path("%s/a.db", ucb_test_folder()),
               *z = ucb_test_path("%s/z.db", ucb_test_folder());
    made_up_database(a, BUILD, false);
    made_up_database(z, "another build",
                     true); /* nor on the build, while its results are equal */
    CHECK_OK(ucb_store_open(a, UCB_STORE_READ, &one, &err), err);
    CHECK_OK(ucb_store_open(z, UCB_STORE_READ, &two, &err), err);
    CHECK_TEXT(digest_of(one), digest_of(two));
    ucb_store_close(one);
    ucb_store_close(two);
}

TEST(the_digest_sees_one_bit_of_a_token)
{
    struct bench b;
    bench_open(&b, "d.db");
    CHECK_OK(bench_put(&b), b.err);
    const char *before = digest_of(b.store);
    CHECK_OK(
        ucb_sql_run(
            b.store,
            "UPDATE items SET kld = CAST(substr(kld, 1, 3) || X'01' || substr(kld, 5) AS BLOB)"
            " WHERE item = 7",
            "change a bit", &b.err),
        b.err);
    CHECK(strcmp(before, digest_of(b.store)) != 0);
    bench_close(&b);
}

TEST(the_cell_id_names_everything_a_result_depends_on_and_nothing_else)
{
    struct bench b;
    bench_open(&b, "i.db");
    struct ucb_cell same = b.cell,
                    other[] = {b.cell, b.cell, b.cell, b.cell, b.cell, b.cell, b.cell};
    same.model = "another/path";
    same.spec = "a shorter way to say it";
    same.dataset = "its other name";
    ucb_cell_identify(&same);
    CHECK_TEXT(same.id, b.cell.id);
    other[0].seed++;
    other[1].scope = "all";
    other[2].identity = "nf4#2";
    other[3].calib = "text";
    other[4].task_revision++;
    other[5].arithmetic = "bf16";
    other[6].dataset_digest = "0";
    for (size_t i = 0; i < 7; i++) {
        ucb_cell_identify(&other[i]);
        CHECK(strcmp(other[i].id, b.cell.id) != 0);
    }
    bench_close(&b);
}

TEST(the_reference_of_a_noise_floor_is_part_of_its_id_and_of_no_other)
{
    struct bench b;
    bench_open(&b, "f.db");
    struct ucb_cell plain = b.cell, floor = b.cell, newer;
    plain.reference = "";
    plain.reference_revision = 7;
    ucb_cell_identify(&plain);
    CHECK_TEXT(plain.id, b.cell.id);
    floor.reference = "bf16";
    floor.reference_revision = 1;
    ucb_cell_identify(&floor);
    CHECK(strcmp(floor.id, b.cell.id) != 0);
    newer = floor;
    newer.reference_revision = 2;
    ucb_cell_identify(&newer);
    CHECK(strcmp(newer.id, floor.id) != 0);
    bench_close(&b);
}

TEST(a_noise_floor_keeps_its_divergences_and_is_no_original)
{
    struct bench b;
    struct ucb_stored_cell *cells;
    const struct ucb_stored_cell *found;
    size_t n;
    bench_open(&b, "g.db");
    b.cell.method = b.cell.spec = b.cell.identity = "none";
    ucb_cell_identify(&b.cell);
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(ask(b.store, "SELECT count(kld) FROM items"), "0");
    b.cell.reference = "bf16";
    b.cell.reference_revision = 1;
    ucb_cell_identify(&b.cell);
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(
        ask(b.store, "SELECT count(kld) = count(*) / 2 AND count(kld) > 0 FROM items"),
        "1");
    CHECK_TEXT(ask(b.store, "SELECT count(DISTINCT cell_id) || ' ' || max(reference)"
                            " FROM v_latest"),
               "2 bf16");
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_store_cells(b.store, &arena, &cells, &n, &b.err), b.err);
    CHECK_EQ(n, 2);
    CHECK_EQ(cells[0].is_original + cells[1].is_original, 1);
    CHECK_EQ(cells[0].is_floor + cells[1].is_floor, 1);
    CHECK_OK(ucb_store_find_cell(cells, n, "*/none/*", &arena, &found, &b.err), b.err);
    CHECK(found->is_original && !found->is_floor);
    CHECK_OK(ucb_store_find_cell(cells, n, "*/noise-floor/*", &arena, &found, &b.err),
             b.err);
    CHECK(found->is_floor);
    CHECK_TEXT(found->cell_id, b.cell.id);
    struct ucb_samples samples;
    CHECK_OK(ucb_store_read_samples(b.store, found, &arena, &samples, &b.err), b.err);
    CHECK(samples.n > 0 && samples.samples[0].kld != NULL);
    ucb_arena_free(&arena);
    bench_close(&b);
}

TEST(noise_floors_that_differ_in_their_reference_alone_are_listed_with_it)
{
    static const char *const references[] = {"bf16", "bf16-dot"};
    struct bench b;
    struct ucb_stored_cell *cells;
    const struct ucb_stored_cell *found;
    struct ucb_arena arena;
    size_t n;
    bench_open(&b, "h.db");
    b.cell.method = b.cell.spec = b.cell.identity = "none";
    for (int i = 0; i < 2; i++) {
        b.cell.reference = references[i];
        b.cell.reference_revision = 1;
        ucb_cell_identify(&b.cell);
        CHECK_OK(bench_put(&b), b.err);
    }
    ucb_arena_init(&arena);
    CHECK_OK(ucb_store_cells(b.store, &arena, &cells, &n, &b.err), b.err);
    CHECK_STATUS(
        ucb_store_find_cell(cells, n, "*/noise-floor/*@fp32", &arena, &found, &b.err),
        UCB_USAGE, b.err);
    for (size_t i = 0; i < n; i++)
        CHECK_HAS(b.err.text,
                  ucb_test_path("  %.12s  m/noise-floor/lambada@fp32 against %s",
                                cells[i].cell_id, cells[i].reference));
    ucb_arena_free(&arena);
    bench_close(&b);
}

TEST(values_that_are_not_numbers_are_stored_as_null)
{
    struct bench b;
    bench_open(&b, "n.db");
    struct ucb_metric broken = {"ppl", INFINITY, NAN, NAN, 3, "none", "too large"};
    b.result.metrics = &broken;
    b.result.n_metrics = 1;
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(ask(b.store,
                   "SELECT value || (ci_low IS NULL) FROM v_results WHERE metric = 'ppl'"),
               "Inf1");
    bench_close(&b);
}

TEST(migrations_run_in_order_and_a_missing_one_is_an_error)
{
    struct bench b;
    static const struct ucb_migration steps[] = {
        {2, "CREATE TABLE extra (a INTEGER)"},
        {3, "ALTER TABLE extra ADD COLUMN b INTEGER"},
        {5, "SELECT 1"}};
    bench_open(&b, "m.db");
    CHECK_OK(ucb_store_migrate(b.store, 1, 3, steps, 3, &b.err), b.err);
    CHECK_TEXT(ask(b.store, "SELECT group_concat(name) FROM pragma_table_info('extra')"),
               "a,b");
    CHECK_STATUS(ucb_store_migrate(b.store, 3, 5, steps, 3, &b.err), UCB_UNSUPPORTED,
                 b.err);
    CHECK_HAS(b.err.text, "schema 3");
    bench_close(&b);
}

TEST(the_verdict_on_a_models_grid_is_kept_by_digest_and_revision)
{
    struct bench b;
    struct ucb_stored_lattice put = {7, "16 values per block of 32", 0.79}, got;
    bool found;
    bench_open(&b, "l.db");
    CHECK_OK(bench_put(&b), b.err);
    const char *digest = b.cell.model_digest;
    CHECK_TEXT(
        ask(b.store, "SELECT count(*) FROM v_results WHERE lattice_source IS NOT NULL"),
        "0");
    CHECK_OK(ucb_store_get_lattice(b.store, digest, 7, &found, &got, &b.err), b.err);
    CHECK(!found);
    CHECK_OK(ucb_store_put_lattice(b.store, digest, &put, &b.err), b.err);
    CHECK_OK(ucb_store_get_lattice(b.store, digest, 7, &found, &got, &b.err), b.err);
    CHECK(found);
    CHECK_TEXT(got.source, put.source);
    CHECK(got.share == put.share);
    CHECK_OK(ucb_store_get_lattice(b.store, digest, 8, &found, &got, &b.err), b.err);
    CHECK(!found); /* another rule would have to look again */
    CHECK_TEXT(ask(b.store, "SELECT DISTINCT lattice_source FROM v_results"), put.source);
    bench_close(&b);
}

/* Two layers, the first of them tuned. */
static const struct ucb_layer_record two_layers[] = {
    {.seconds = 1.5,
     .is_tuned = true,
     .loss_before = 0.25,
     .loss_after = 0.125,
     .peak_rss_bytes = 1000},
    {.seconds = 0.5, .peak_rss_bytes = 2000}};

TEST(layers_come_back_with_losses_where_something_was_tuned)
{
    struct bench b;
    bench_open(&b, "l.db");
    b.result.layers = two_layers;
    b.result.n_layers = 2;
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(ask(b.store,
                   "SELECT group_concat(layer || ' ' || seconds || ' ' || peak_rss_bytes ||"
                   " ' ' || coalesce(loss_before, '-') || ' ' || coalesce(loss_after, '-'))"
                   " FROM (SELECT * FROM v_layers ORDER BY layer)"),
               "0 1.5 1000 0.25 0.125,1 0.5 2000 - -");
    bench_close(&b);
}

TEST(the_digest_does_not_see_what_a_layer_cost)
{
    struct bench a, b;
    bench_open(&a, "a.db");
    bench_open(&b, "b.db");
    b.result.layers = two_layers;
    b.result.n_layers = 2;
    CHECK_OK(bench_put(&a), a.err);
    CHECK_OK(bench_put(&b), b.err);
    CHECK_TEXT(digest_of(a.store), digest_of(b.store));
    a.result.layers = two_layers; /* the stored cell is equal and stays */
    a.result.n_layers = 2;
    CHECK_OK(bench_put(&a), a.err);
    CHECK_TEXT(ask(a.store, "SELECT count(*) FROM layers"), "0");
    bench_close(&a);
    bench_close(&b);
}

TEST(a_database_of_the_first_schema_is_brought_to_this_one_with_its_results)
{
    struct ucb_store *store = NULL;
    struct ucb_err err;
    const char *path = ucb_test_path("%s/old.db", ucb_test_folder());
    fire_old_database(path);
    CHECK_STATUS(ucb_store_open(path, UCB_STORE_READ, &store, &err), UCB_CORRUPT, err);
    CHECK_HAS(err.text, "schema 1");
    CHECK_OK(ucb_store_open(path, UCB_STORE_WRITE, &store, &err), err);
    CHECK_TEXT(ask(store, "SELECT spec || value || bpw_matrices || reference || "
                          "(lattice_source IS NULL) FROM v_latest WHERE status = 'OK'"),
               "nf40.254.481");
    CHECK_TEXT(ask(store, "SELECT message FROM v_latest WHERE status = 'FAILED'"), "no");
    CHECK_TEXT(ask(store, "SELECT count(*) || hex(max(kld)) FROM items"), "20000003F");
    CHECK_TEXT(ask(store, "SELECT count(*) FROM v_layers"), "0");
    ucb_store_close(store);
    CHECK_OK(ucb_store_open(path, UCB_STORE_READ, &store, &err), err);
    ucb_store_close(store);
}
