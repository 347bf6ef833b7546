/* The claims and how they are checked: every value is read, every claim has one way to be
 * checked, and the numbers that follow from them are the known ones. */
#include "test.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>

#include "method/chain.h"
#include "report/claims.h"

static struct ucb_arena arena;
static struct ucb_claims claims;

static void load(void)
{
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_claims_load(&arena, &claims, &err), err);
    CHECK_OK(ucb_claims_check(&claims, &err), err);
}

static void unload(void)
{
    ucb_claims_close(&claims);
    ucb_arena_free(&arena);
}

static struct ucb_claim *find(const char *id)
{
    for (size_t i = 0; i < claims.n; i++)
        if (strcmp(claims.list[i].id, id) == 0) return &claims.list[i];
    ucb_test_fail(__FILE__, __LINE__, "no claim %s", id);
}

static double evaluate(const char *sql)
{
    double value;
    struct ucb_err err;
    CHECK_OK(ucb_claims_evaluate(&claims, &claims.list[0], sql, &value, &err), err);
    return value;
}

TEST(all_claims_have_a_value_that_is_read_and_one_row_of_the_map)
{
    load();
    size_t words = 0;
    CHECK_EQ(claims.n, 340);
    for (size_t i = 0; i < claims.n; i++) {
        const struct ucb_claim *c = &claims.list[i];
        words += c->quantity.n_numbers == 0;
        if (c->quantity.n_numbers == 0)
            CHECK(strcmp(c->value, "TBD") == 0 || strcmp(c->value, "variable") == 0);
        CHECK(*c->why != '\0' || *c->task != '\0'); /* how, or why not */
    }
    CHECK_EQ(words, 5); /* four TBD, one variable */
    unload();
}

TEST(methods_that_the_map_names_are_canonical_specs)
{
    load();
    size_t n = 0;
    for (size_t i = 0; i < claims.n; i++) {
        struct ucb_chain *chain;
        struct ucb_err err;
        if (*claims.list[i].spec == '\0') continue;
        CHECK_OK(ucb_chain_parse(claims.list[i].spec, &arena, &chain, &err), err);
        CHECK_TEXT(ucb_chain_spec(chain), claims.list[i].spec);
        n++;
    }
    CHECK(n > 20);
    unload();
}

TEST(arithmetic_gives_the_known_numbers)
{
    static const struct {
        const char *id;
        double value, within;
        enum ucb_claim_verdict verdict;
    } known[] = {
        /* half a unit of the digits that the specification gives */
        {"A1-001", 13.476, 0.001, UCB_VERDICT_REPRODUCED},
        {"A1-002", 8.81, 0.005, UCB_VERDICT_REFUTED},
        {"A1-006", 26.03, 0.005, UCB_VERDICT_REFUTED},
        {"A1-016", 93.4, 0.05, UCB_VERDICT_REFUTED},
        {"A1-018", 68.09, 0.005, UCB_VERDICT_REPRODUCED},
        {"A2-002", 0, 0, UCB_VERDICT_REFUTED},
        {"A4-006", 4.41, 0.005, UCB_VERDICT_REPRODUCED},
        {"R2-002", 99.745, 0.0005, UCB_VERDICT_REPRODUCED},
        {"R2-010", 2.7981, 0.00005, UCB_VERDICT_REPRODUCED},
        {"R2-013", 2.7954, 0.00005, UCB_VERDICT_REPRODUCED},
        {"R2-021", 17.14, 0.005, UCB_VERDICT_REPRODUCED},
        {"R3-006", 3.2, 0, UCB_VERDICT_REPRODUCED},
        {"R4-007", -1.33, 0.0001, UCB_VERDICT_REPRODUCED},
        {"R5-001", 1509916, 0, UCB_VERDICT_REPRODUCED},
        {"R5-002", 311.1, 0.05, UCB_VERDICT_REPRODUCED},
        {"R5-008", 640284, 0, UCB_VERDICT_REPRODUCED},
        {"R5-009", 733.7, 0.05, UCB_VERDICT_REPRODUCED},
        {"R7-005", 3.95, 0.005, UCB_VERDICT_REPRODUCED},
        {"R8-030", 26.682, 0.0005, UCB_VERDICT_REPRODUCED},
        {"R11-001", 80.4, 0.05, UCB_VERDICT_REFUTED},
        {"R11-002", 8333, 0.5, UCB_VERDICT_REPRODUCED},
        {"R12-001", 50.3, 0.05, UCB_VERDICT_REFUTED},
        {"R13-001", 3.67, 1e-9, UCB_VERDICT_REFUTED},
        {"R13-010", 3, 0, UCB_VERDICT_REFUTED},
        {"R13-021", 3.146752, 1e-12, UCB_VERDICT_REFUTED},
        {"R13-034", 80.35, 0.005, UCB_VERDICT_REFUTED},
    };
    load();
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct ucb_claim *c = find(known[i].id);
        CHECK_TEXT(ucb_test_path("%s %s", c->id, ucb_claim_verdict_name(c->verdict)),
                   ucb_test_path("%s %s", c->id, ucb_claim_verdict_name(known[i].verdict)));
        CHECK_NEAR(c->measured, known[i].value, known[i].within);
    }
    unload();
}

TEST(what_a_claim_leaves_out_is_counted_beside_it)
{
    static const struct {
        const char *id;
        double value, within;
    } known[] = {
        {"A1-002", 5.105, 0.005}, {"A1-007", 4.92, 0.005},   {"A1-012", 5.20, 0.005},
        {"A1-017", 2.55, 0.005},  {"R2-004", 4.127, 0.0005}, {"R3-006", 2.15, 0.005},
        {"R5-002", 5.50, 0.005},  {"R8-016", 3.66, 0.005},   {"R8-023", 4.39, 0.005},
        {"R8-030", 4.89, 0.005},  {"R8-029", 352.10, 0.005}, {"R11-001", 0.30, 0.005},
    };
    load();
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct ucb_claim *c = find(known[i].id);
        struct ucb_err err;
        double value;
        CHECK_OK(ucb_claims_evaluate(&claims, c, c->honest, &value, &err), err);
        CHECK_NEAR(value, known[i].value, known[i].within);
        CHECK_HAS(c->reason, c->honest_label);
    }
    unload();
}

TEST(shapes_give_the_known_sizes)
{
    load();
    /* everything but norms and biases, which are below a thousandth */
    CHECK_NEAR(
        evaluate(
            "SELECT max(abs(1 - (body + (2 - tied) * table_weights) * 1.0 / parameters))"
            " FROM models"),
        0, 1e-3);
    CHECK_NEAR(evaluate("SELECT body FROM models WHERE name = 'qwen3-1.7b'"), 1409286144,
               0);
    CHECK_NEAR(evaluate("SELECT base FROM overlay WHERE name = 'qwen3-1.7b'"), 2.7708333,
               5e-8);
    CHECK_NEAR(evaluate("SELECT mixed FROM overlay WHERE name = 'qwen3-1.7b'"), 2.7991422,
               5e-8);
    CHECK_NEAR(evaluate("SELECT base FROM overlay WHERE name = 'olmo-2-1b'"), 2.765625, 0);
    CHECK_NEAR(evaluate("SELECT mixed FROM overlay WHERE name = 'olmo-2-1b'"), 2.7942734,
               5e-8);
    CHECK_NEAR(evaluate("SELECT mixed_full FROM overlay WHERE name = 'mistral-7b-v0.3'"),
               2.804, 5e-4);
    CHECK_NEAR(evaluate("SELECT mixed_model FROM overlay WHERE name = 'qwen3-8b'"), 4.81,
               5e-3);
    /* the v0.3 format at 5 bits: body, model */
    CHECK_NEAR(
        evaluate("SELECT 5 + scale_bits + factor_bits FROM gsq WHERE name = 'qwen3-8b'"),
        5.90, 5e-3);
    CHECK_NEAR(
        evaluate("SELECT ((5 + scale_bits + factor_bits) * body + 16.0 * rest) / parameters"
                 " FROM gsq WHERE name = 'qwen2.5-72b'"),
        6.05, 5e-3);
    unload();
}

TEST(an_expression_can_only_read_and_must_give_one_number)
{
    static const char *const bad[] = {"DELETE FROM claims",
                                      "INSERT INTO raw SELECT * FROM raw",
                                      "DROP TABLE shapes",
                                      "CREATE TABLE t (x)",
                                      "PRAGMA user_version",
                                      "ATTACH '/tmp/x' AS x",
                                      "SELECT load_extension('x')",
                                      "SELECT 1; SELECT 2",
                                      "SELECT 1, 2",
                                      "SELECT value FROM raw",
                                      "SELECT 1 WHERE 0",
                                      "SELECT NULL",
                                      "SELECT 'text'",
                                      "SELECT 1e999",
                                      "SELECT claim('Z9-001')",
                                      "SELECT claim('R9-039')",
                                      "SELECT nothing",
                                      "",
                                      "VACUUM INTO '/tmp/x'",
                                      "WITH x AS (SELECT 1) DELETE FROM claims"};
    struct ucb_err err;
    double value = 7;
    load();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_STATUS(ucb_claims_evaluate(&claims, &claims.list[0], bad[i], &value, &err),
                     UCB_CORRUPT, err);
        CHECK_HAS(err.text, "A1-001");
    }
    CHECK_NEAR(evaluate("SELECT count(*) FROM claims"), 340, 0);
    unload();
}

TEST(a_claim_that_rests_on_refuted_ones_says_so)
{
    load();
    CHECK_HAS(find("A1-018")->reason, "A1-017, which it uses, is refuted");
    CHECK_HAS(find("R11-002")->reason, "R11-001, which it uses, is refuted");
    CHECK(strstr(find("A3-003")->reason, "refuted") == NULL);
    CHECK_HAS(ucb_claim_note_text(&claims, find("A1-002")), "[D-01: ");
    unload();
}

TEST(special_characters_are_escaped_in_latex_and_html)
{
    struct ucb_text out = {0};
    ucb_tex_escape(&out, "a_b & 5% #1 {x} $y ~z ^w <2 \\");
    CHECK_TEXT(ucb_text_get(&out), "a\\_b \\& 5\\% \\#1 \\{x\\} \\$y \\textasciitilde{}z "
                                   "\\textasciicircum{}w \\textless{}2 \\textbackslash{}");
    ucb_text_free(&out);
    ucb_html_escape(&out, "<2 & \"x\" > y");
    CHECK_TEXT(ucb_text_get(&out), "&lt;2 &amp; &quot;x&quot; &gt; y");
    ucb_text_free(&out);
}
