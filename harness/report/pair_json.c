/* pair_json.c - a comparison as one JSON object. A number that does not exist is null. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/json.h"
#include "report/pair.h"

static json_t *real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *estimate(struct ucb_estimate e)
{
    return json_pack("{s:o, s:o, s:o}", "value", real(e.value), "low", real(e.low), "high",
                     real(e.high));
}

static json_t *cell(const struct ucb_stored_cell *c)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "cell_id", c->cell_id,
                     "build_id", c->build_id, "model", ucb_json_text(c->model), "spec",
                     c->spec, "calib", c->calib, "arithmetic", c->arithmetic, "reference",
                     c->reference, "weights_digest", c->weights_digest);
}

static json_t *criterion(const struct ucb_criterion *c, const struct ucb_comparison *r)
{
    const struct ucb_evidence *e = &c->evidence;
    if (!c->present) return json_null();
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:o, s:o, s:o, s:s, s:b}", "value",
        real(e->wide.value), "low", real(e->wide.low), "high", real(e->wide.high), "low90",
        real(e->narrow.low), "high90", real(e->narrow.high), "band_low", real(e->band.low),
        "band_high", real(e->band.high), "interval", c->interval, "n",
        (json_int_t)r->n_documents, "tost_p", real(c->tost_p), "mde", real(c->mde),
        "n_decides", real(c->n_decides), "verdict", ucb_verdict_text(c->verdict),
        "below_floor", c->below_floor);
}

static json_t *criteria(const struct ucb_comparison *r)
{
    static const char *const names[] = {"ppl_ratio", "accuracy_difference", "ear"};
    json_t *object = json_object();
    for (int k = 0; k < UCB_N_CRITERIA; k++)
        json_object_set_new(object, names[k], criterion(&r->criteria[k], r));
    return object;
}

static json_t *example(const struct ucb_pair *pair, size_t item)
{
    const struct ucb_samples *s = &pair->samples[1];
    if (item == SIZE_MAX) return json_null();
    uint32_t document = s->document[item];
    return json_pack("{s:I, s:s}", "item", (json_int_t)item, "document",
                     document < s->n_documents ? s->documents[document].name : "");
}

static json_t *accuracy(const struct ucb_pair *pair)
{
    const struct ucb_comparison *r = &pair->result;
    if (!r->has_accuracy) return json_null();
    json_t *object = json_pack(
        "{s:o, s:o, s:o, s:I, s:I, s:o, s:o}", "a", estimate(r->accuracy[0]), "b",
        estimate(r->accuracy[1]), "retention", estimate(r->retention), "flips_lost",
        (json_int_t)r->n_lost, "flips_won", (json_int_t)r->n_won, "lost_example",
        example(pair, r->lost_item), "won_example", example(pair, r->won_item));
    json_t *tests = json_null();
    if (r->has_tests)
        tests = json_pack("{s:f, s:f, s:f, s:f}", "p", r->mcnemar.p, "mid_p",
                          r->mcnemar.mid_p, "worse_p", r->mcnemar.worse_p, "worse_mid_p",
                          r->mcnemar.worse_mid);
    json_object_set_new(object, "mcnemar", tests);
    json_object_set_new(object, "newcombe",
                        r->has_tests ? estimate(r->newcombe) : json_null());
    return object;
}

static json_t *divergence(const struct ucb_divergence *d)
{
    static const char *const names[] = {
#define KLD_NAME(name, p) "kld_" #name,
        UCB_KLD_SHOWN_LIST(KLD_NAME)
#undef KLD_NAME
    };
    if (!d->present) return json_null();
    json_t *object = json_pack("{s:o, s:o}", "kld_mean", estimate(d->kld_mean), "ear",
                               estimate(d->ear));
    for (int k = 0; k < UCB_N_KLD_SHOWN; k++)
        json_object_set_new(object, names[k], real(d->kld[k]));
    return object;
}

static json_t *noise_floor(const struct ucb_pair *pair)
{
    const struct ucb_comparison *f = &pair->floor;
    const struct ucb_divergence *d = &f->divergence[1];
    if (pair->floor_cell[0] == NULL) return json_null();
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "a", cell(pair->floor_cell[0]), "b",
        cell(pair->floor_cell[1]), "ppl_ratio",
        estimate(f->criteria[UCB_CRITERION_PPL].evidence.wide), "flips",
        f->has_accuracy ? json_integer((json_int_t)(f->n_lost + f->n_won)) : json_null(),
        "kld_mean", d->present ? estimate(d->kld_mean) : json_null(), "ear",
        d->present ? estimate(d->ear) : json_null(), "n", (json_int_t)f->n_documents);
}

static json_t *whole(const struct ucb_pair *pair)
{
    const struct ucb_comparison *r = &pair->result;
    struct ucb_text sentence = {0};
    ucb_pair_sentence(pair, &sentence);
    json_t *object = json_pack(
        "{s:s, s:s#, s:o, s:b, s:b, s:o, s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o}",
        "verdict", ucb_verdict_text(r->verdict), "sentence", ucb_text_get(&sentence),
        (int)strcspn(ucb_text_get(&sentence), "\n"), "n_decides", real(r->n_decides),
        "below_floor", r->below_floor, "weights_equal", pair->weights_equal, "a",
        cell(pair->cell[0]), "b", cell(pair->cell[1]), "task", pair->cell[0]->task,
        "dataset", pair->cell[0]->dataset, "dataset_digest", pair->cell[0]->dataset_digest,
        "n_documents", (json_int_t)r->n_documents, "n_items", (json_int_t)r->n_items,
        "n_tokens", (json_int_t)r->n_tokens, "criteria", criteria(r), "ppl_ratio_bca",
        estimate(r->ratio_bca), "accuracy", accuracy(pair));
    if (object != NULL) {
        json_object_set_new(object, "divergence_a", divergence(&r->divergence[0]));
        json_object_set_new(object, "divergence_b", divergence(&r->divergence[1]));
        json_object_set_new(object, "noise_floor", noise_floor(pair));
    }
    ucb_text_free(&sentence);
    return object;
}

ucb_status ucb_pair_json(const struct ucb_pair *pair, struct ucb_text *out,
                         struct ucb_err *err)
{
    return ucb_json_add(whole(pair), "the comparison", out, err);
}
