/*
 * chain.c - the text of a chain: name[:key=value[,key=value]...], chained with '+'. Strict:
 * what is not understood is refused with its near matches, so a typo never runs with a
 * default.
 */
#include "method/chain.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "method/chain_internal.h"

enum { MAX_NAMES = 64, NEAR_TEXT = 256, NUMBER_TEXT = 32 };

struct ucb_job ucb_stage_job(const struct ucb_stage *stage)
{
    struct ucb_job job = {.method = stage->method};
    memcpy(job.value, stage->value, sizeof(job.value));
    return job;
}

static size_t count_knobs(const struct ucb_method *method)
{
    size_t n = 0;
    while (method->knobs != NULL && method->knobs[n].name != NULL) n++;
    assert(n <= UCB_MAX_KNOBS);
    return n;
}

static ucb_status unknown_method(const char *name, const char *spec, struct ucb_err *err)
{
    const char *names[MAX_NAMES];
    char near[NEAR_TEXT];
    size_t n = 0;
    for (const struct ucb_method *const *m = ucb_methods(); *m != NULL && n < MAX_NAMES;
         m++)
        names[n++] = (*m)->name;
    ucb_text_near(name, names, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "method spec \"%s\": no method is named \"%s\"; %s",
                    spec, name, near);
}

static ucb_status unknown_key(const struct ucb_method *method, const char *key,
                              const char *spec, struct ucb_err *err)
{
    const char *names[UCB_MAX_KNOBS];
    char near[NEAR_TEXT];
    size_t n = count_knobs(method);
    for (size_t i = 0; i < n; i++) names[i] = method->knobs[i].name;
    if (n == 0)
        return UCB_FAIL(err, UCB_USAGE, "method spec \"%s\": %s has no keys, found \"%s\"",
                        spec, method->name, key);
    ucb_text_near(key, names, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "method spec \"%s\": %s has no key \"%s\"; %s", spec,
                    method->name, key, near);
}

static ucb_status parse_choice(const struct ucb_knob *knob, const char *text, double *value,
                               const char *spec, struct ucb_err *err)
{
    char near[NEAR_TEXT];
    size_t n = 0;
    for (; knob->choices[n] != NULL; n++) {
        if (strcmp(knob->choices[n], text) != 0) continue;
        *value = (double)n;
        return UCB_OK;
    }
    ucb_text_near(text, knob->choices, n, near, sizeof(near));
    return UCB_FAIL(err, UCB_USAGE, "method spec \"%s\": %s=%s is not a choice; %s", spec,
                    knob->name, text, near);
}

static ucb_status parse_number(const struct ucb_knob *knob, const char *text, double *value,
                               const char *spec, struct ucb_err *err)
{
    int64_t whole;
    bool is_int = knob->type == UCB_KNOB_INT;
    bool good = is_int ? ucb_parse_i64(text, &whole) : ucb_parse_f64(text, value);
    if (good && is_int) *value = (double)whole;
    if (good && *value >= knob->low && *value <= knob->high) return UCB_OK;
    return UCB_FAIL(
        err, UCB_USAGE, "method spec \"%s\": %s=%s, expected a %s from %g to %g", spec,
        knob->name, text, is_int ? "whole number" : "number", knob->low, knob->high);
}

static ucb_status parse_value(const struct ucb_knob *knob, const char *text, double *value,
                              const char *spec, struct ucb_err *err)
{
    if (knob->type == UCB_KNOB_CHOICE) return parse_choice(knob, text, value, spec, err);
    return parse_number(knob, text, value, spec, err);
}

/* One "key=value" of a stage; `seen` has a bit for each knob that was set. */
static ucb_status parse_pair(char *pair, struct ucb_stage *stage, uint32_t *seen,
                             const char *spec, struct ucb_err *err)
{
    char *equals = strchr(pair, '=');
    if (equals == NULL)
        return UCB_FAIL(err, UCB_USAGE,
                        "method spec \"%s\": found \"%s\" where %s expects key=value", spec,
                        pair, stage->method->name);
    *equals = '\0';
    for (size_t i = 0, n = count_knobs(stage->method); i < n; i++) {
        const struct ucb_knob *knob = &stage->method->knobs[i];
        if (strcmp(knob->name, pair) != 0) continue;
        if (*seen >> i & 1)
            return UCB_FAIL(err, UCB_USAGE,
                            "method spec \"%s\": %s is given twice; leave one", spec, pair);
        *seen |= 1u << i;
        return parse_value(knob, equals + 1, &stage->value[i], spec, err);
    }
    return unknown_key(stage->method, pair, spec, err);
}

/* Index of a knob by name; the name must exist. */
static size_t knob_index(const struct ucb_method *method, const char *name)
{
    size_t i = 0;
    while (strcmp(method->knobs[i].name, name) != 0) i++;
    return i;
}

/* A spec that sets a knob and the one it stands in place of has two meanings. */
static ucb_status check_instead(const struct ucb_stage *stage, uint32_t seen,
                                const char *spec, struct ucb_err *err)
{
    const struct ucb_method *method = stage->method;
    if (method->instead.knob == NULL ||
        (seen >> knob_index(method, method->instead.knob) & 1) == 0 ||
        (seen >> knob_index(method, method->instead.of) & 1) == 0)
        return UCB_OK;
    return UCB_FAIL(err, UCB_USAGE,
                    "method spec \"%s\": %s takes the place of %s; leave one", spec,
                    method->instead.knob, method->instead.of);
}

static void set_defaults(struct ucb_stage *stage)
{
    for (size_t i = 0, n = count_knobs(stage->method); i < n; i++) {
        const struct ucb_knob *knob = &stage->method->knobs[i];
        ucb_status status = parse_value(knob, knob->fallback, &stage->value[i],
                                        knob->fallback, NULL);
        assert(status == UCB_OK);
        (void)status;
    }
}

/* One "name:key=value,..."; `text` is cut up. */
static ucb_status parse_stage(char *text, struct ucb_stage *stage, const char *spec,
                              struct ucb_err *err)
{
    char *colon = strchr(text, ':');
    uint32_t seen = 0;
    if (colon != NULL) *colon = '\0';
    if (*text == '\0')
        return UCB_FAIL(err, UCB_USAGE,
                        "method spec \"%s\": a stage has no name; try nf4 or hqq:bits=4",
                        spec);
    stage->method = ucb_method_find(text);
    if (stage->method == NULL) return unknown_method(text, spec, err);
    set_defaults(stage);
    for (char *pair = colon == NULL ? NULL : colon + 1, *next; pair != NULL; pair = next) {
        next = strchr(pair, ',');
        if (next != NULL) *next++ = '\0';
        UCB_TRY(parse_pair(pair, stage, &seen, spec, err));
    }
    UCB_TRY(check_instead(stage, seen, spec, err));
    struct ucb_job job = ucb_stage_job(stage);
    return stage->method->check == NULL ? UCB_OK : stage->method->check(&job, err);
}

static const char *kind_name(enum ucb_kind kind)
{
    static const char *const names[] = {"base",   "add",  "exact",
                                        "recode", "tune", "replace"};
    return names[kind];
}

static bool stage_has_product(const struct ucb_stage *stage)
{
    struct ucb_job job = ucb_stage_job(stage);
    return job.method->has_product != NULL && job.method->has_product(&job);
}

/* An exact stage has nothing left to do behind it; one that predicts by itself has no use
 * for stages before it. */
static ucb_status check_exact(const struct ucb_chain *chain, uint32_t index,
                              const char *spec, struct ucb_err *err)
{
    const struct ucb_method *method = chain->stages[index].method;
    if (index + 1 < chain->n_stages)
        return UCB_FAIL(err, UCB_USAGE,
                        "method spec \"%s\": %s restores every bit, so it is the last "
                        "stage; found it as stage %u of %u",
                        spec, method->name, index + 1, chain->n_stages);
    if (index > 0 && !method->needs_before)
        return UCB_FAIL(err, UCB_USAGE,
                        "method spec \"%s\": %s codes the weights themselves; leave it "
                        "alone in its chain, or end the chain with residual",
                        spec, method->name);
    return UCB_OK;
}

ucb_status ucb_chain_check_order(const struct ucb_chain *chain, const char *spec,
                                 struct ucb_err *err)
{
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        const struct ucb_method *method = chain->stages[i].method;
        if (method->kind == UCB_TUNE && i > 0 && i + 1 == chain->n_stages &&
            chain->stages[i - 1].method->kind != UCB_EXACT)
            continue;
        if (method->kind == UCB_TUNE)
            return UCB_FAIL(
                err, UCB_USAGE,
                "method spec \"%s\": %s changes the parameters of the stages "
                "before it, so it can only be the last, behind stages that have "
                "some; try gsq:bits=5+lowrank+%s",
                spec, method->name, method->name);
        if (method->kind > UCB_EXACT)
            return UCB_FAIL(err, UCB_UNSUPPORTED,
                            "method spec \"%s\": %s is a stage of kind %s, which this "
                            "version cannot run yet; base, add, exact and tune stages run",
                            spec, method->name, kind_name(method->kind));
        if (method->kind == UCB_EXACT) UCB_TRY(check_exact(chain, i, spec, err));
        if (i == 0 && (method->kind == UCB_ADD || method->needs_before))
            return UCB_FAIL(err, UCB_USAGE,
                            "method spec \"%s\": %s needs what a stage before it "
                            "decodes; put one before it, "
                            "as in nf4+%s",
                            spec, method->name, method->name);
        if (i > 0 && method->kind == UCB_BASE)
            return UCB_FAIL(err, UCB_USAGE,
                            "method spec \"%s\": %s encodes whole matrices, so it can only "
                            "be the first stage; "
                            "found it as stage %u",
                            spec, method->name, i + 1);
        if (chain->n_stages > 1 && stage_has_product(&chain->stages[i]))
            return UCB_FAIL(err, UCB_USAGE,
                            "method spec \"%s\": with these keys %s multiplies in its own "
                            "arithmetic, which knows no other stage; leave it alone in its "
                            "chain",
                            spec, method->name);
    }
    return UCB_OK;
}

/* Whole numbers plainly, others as the shortest decimal that reads back as
 * the same double. */
static void print_number(double value, char out[NUMBER_TEXT])
{
    if (value == rint(value) && fabs(value) < 1e15) {
        snprintf(out, NUMBER_TEXT, "%.0f", value);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(out, NULL) == value) return;
    }
}

static void print_pair(struct ucb_text *text, const struct ucb_knob *knob, double value,
                       char separator)
{
    char number[NUMBER_TEXT];
    if (knob->type != UCB_KNOB_CHOICE) print_number(value, number);
    ucb_text_add(text, "%c%s=%s", separator, knob->name,
                 knob->type == UCB_KNOB_CHOICE ? knob->choices[(size_t)value] : number);
}

/* Whether another knob, away from its default, stands in place of knob i. */
static bool is_replaced(const struct ucb_stage *stage, const struct ucb_stage *fallback,
                        size_t i)
{
    const struct ucb_method *method = stage->method;
    if (method->instead.knob == NULL || i != knob_index(method, method->instead.of))
        return false;
    size_t other = knob_index(method, method->instead.knob);
    return stage->value[other] != fallback->value[other];
}

/* Canonical: in the order of the table. `all`: every knob and the revision, for the
 * identity. */
static void print_stage(struct ucb_text *text, const struct ucb_stage *stage, bool all)
{
    struct ucb_stage fallback = {.method = stage->method};
    char separator = ':';
    set_defaults(&fallback);
    ucb_text_add(text, "%s", stage->method->name);
    if (all) ucb_text_add(text, "#%u", stage->method->revision);
    for (size_t i = 0, n = count_knobs(stage->method); i < n; i++) {
        if (!all && i >= stage->method->n_shown && stage->value[i] == fallback.value[i])
            continue;
        if (!all && is_replaced(stage, &fallback, i)) continue;
        print_pair(text, &stage->method->knobs[i], stage->value[i], separator);
        separator = ',';
    }
}

static const char *print_chain(const struct ucb_chain *chain, bool all,
                               struct ucb_arena *arena)
{
    struct ucb_text text = {0};
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        if (i > 0) ucb_text_add(&text, "+");
        print_stage(&text, &chain->stages[i], all);
    }
    const char *kept = text.failed ? NULL : ucb_arena_strdup(arena, ucb_text_get(&text));
    ucb_text_free(&text);
    return kept;
}

static ucb_status parse_stages(char *text, struct ucb_chain *chain, const char *spec,
                               struct ucb_err *err)
{
    for (char *stage = text, *next; stage != NULL; stage = next) {
        next = strchr(stage, '+');
        if (next != NULL) *next++ = '\0';
        if (chain->n_stages == UCB_MAX_STAGES)
            return UCB_FAIL(err, UCB_USAGE, "method spec \"%s\": more than %d stages", spec,
                            UCB_MAX_STAGES);
        UCB_TRY(parse_stage(stage, &chain->stages[chain->n_stages], spec, err));
        chain->n_stages++;
    }
    UCB_TRY(ucb_chain_check_order(chain, spec, err));
    const struct ucb_stage *last = &chain->stages[chain->n_stages - 1];
    chain->n_coded = chain->n_stages - (last->method->kind == UCB_TUNE);
    return UCB_OK;
}

ucb_status ucb_chain_parse(const char *spec, struct ucb_arena *arena,
                           struct ucb_chain **out, struct ucb_err *err)
{
    assert(spec != NULL);
    struct ucb_chain *chain = UCB_NEW(arena, struct ucb_chain, 1);
    char *text = ucb_arena_strdup(arena, spec);
    if (chain == NULL || text == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory to parse method spec \"%s\"", spec);
    UCB_TRY(parse_stages(text, chain, spec, err));
    chain->spec = print_chain(chain, false, arena);
    chain->identity = print_chain(chain, true, arena);
    if (chain->spec == NULL || chain->identity == NULL)
        return UCB_FAIL(err, UCB_NOMEM, "no memory for the names of method spec \"%s\"",
                        spec);
    *out = chain;
    return UCB_OK;
}

const char *ucb_chain_spec(const struct ucb_chain *chain)
{
    return chain->spec;
}

const char *ucb_chain_identity(const struct ucb_chain *chain)
{
    return chain->identity;
}

const char *ucb_chain_name(const struct ucb_chain *chain)
{
    return chain->stages[0].method->name;
}

uint32_t ucb_chain_needs(const struct ucb_chain *chain)
{
    uint32_t needs = UCB_NEEDS_NONE;
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        struct ucb_job job = ucb_stage_job(&chain->stages[i]);
        if (job.method->needs != NULL) needs |= job.method->needs(&job);
    }
    return needs;
}

bool ucb_chain_needs_text(const struct ucb_chain *chain)
{
    return ucb_chain_needs(chain) != UCB_NEEDS_NONE || chain->n_coded < chain->n_stages;
}

bool ucb_chain_is_sequential(const struct ucb_chain *chain)
{
    for (uint32_t i = 0; i < chain->n_stages; i++)
        if (chain->stages[i].method->sequential) return true;
    return false;
}

bool ucb_chain_takes(const struct ucb_chain *chain, enum ucb_role role, bool in_scope)
{
    struct ucb_job job = ucb_stage_job(&chain->stages[0]);
    return job.method->takes == NULL ? in_scope : job.method->takes(&job, role, in_scope);
}

ucb_status ucb_chain_fits(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                          struct ucb_err *err)
{
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        struct ucb_job job = ucb_stage_job(&chain->stages[i]);
        if (job.method->fits != NULL) UCB_TRY(job.method->fits(&job, matrix, err));
    }
    return UCB_OK;
}

bool ucb_chain_layout(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                      struct ucb_layout *out)
{
    struct ucb_job job = ucb_stage_job(&chain->stages[0]);
    if (chain->n_stages != 1 || job.method->layout == NULL) return false;
    job.method->layout(&job, matrix, out);
    return true;
}

bool ucb_chain_groups(const struct ucb_chain *chain, const struct ucb_matrix *a,
                      const struct ucb_matrix *b)
{
    struct ucb_job job = ucb_stage_job(&chain->stages[0]);
    return job.method->group != NULL &&
           job.method->group(&job, a) == job.method->group(&job, b);
}

bool ucb_chain_has_shared(const struct ucb_chain *chain)
{
    for (uint32_t i = 0; i < chain->n_stages; i++)
        if (chain->stages[i].method->fit_shared != NULL) return true;
    return false;
}

bool ucb_chain_is_exact(const struct ucb_chain *chain)
{
    return chain->stages[chain->n_coded - 1].method->kind == UCB_EXACT;
}

bool ucb_chain_is_none(const struct ucb_chain *chain)
{
    return chain->n_stages == 1 && strcmp(ucb_chain_name(chain), "none") == 0;
}

bool ucb_chain_has_product(const struct ucb_chain *chain)
{
    return chain->n_stages == 1 && stage_has_product(&chain->stages[0]);
}

double ucb_chain_nominal_bpw(const struct ucb_chain *chain, const struct ucb_matrix *matrix)
{
    double bits = 0;
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        struct ucb_job job = ucb_stage_job(&chain->stages[i]);
        bits += job.method->nominal_bpw(&job, matrix);
    }
    return bits;
}

double ucb_chain_claimed_bpw(const struct ucb_chain *chain, const struct ucb_matrix *matrix)
{
    double bits = 0;
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        struct ucb_job job = ucb_stage_job(&chain->stages[i]);
        if (job.method->claimed_bpw == NULL) return NAN;
        bits += job.method->claimed_bpw(&job, matrix);
    }
    return bits;
}

enum ucb_dtype ucb_chain_decoded_dtype(const struct ucb_chain *chain, enum ucb_dtype source)
{
    uint32_t stage = ucb_chain_is_exact(chain) ? chain->n_coded - 1 : 0;
    struct ucb_job job = ucb_stage_job(&chain->stages[stage]);
    return job.method->decoded_dtype(&job, source);
}
