/* info_json.c - a model and its survey as JSON; see info.h. */
#include "info.h"

#include <string.h>

#include "core/json.h"
#include "model/catalog.h"
#include "model/checkpoint.h"

/* ---- parameters by what they are for ---- */

enum kind {
    KIND_EMBEDDING,
    KIND_ATTENTION,
    KIND_MLP,
    KIND_EXPERTS,
    KIND_ROUTER,
    KIND_STATE_SPACE,
    KIND_NORMS,
    KIND_HEAD,
    N_KINDS
};
static const char *const kind_names[N_KINDS] = {
    "embedding", "attention", "mlp", "experts", "router", "state_space", "norms", "head"};

struct kind_count {
    uint64_t parameters, n_matrices;
};

static enum kind kind_of_role(enum ucb_role role, bool has_experts)
{
    switch (role) {
    case UCB_ROLE_GATE:
    case UCB_ROLE_UP:
    case UCB_ROLE_DOWN: return has_experts ? KIND_EXPERTS : KIND_MLP;
    case UCB_ROLE_SHARED_GATE:
    case UCB_ROLE_SHARED_UP:
    case UCB_ROLE_SHARED_DOWN: return KIND_EXPERTS;
    case UCB_ROLE_SSM_IN:
    case UCB_ROLE_SSM_X:
    case UCB_ROLE_SSM_DT:
    case UCB_ROLE_SSM_OUT: return KIND_STATE_SPACE;
    case UCB_ROLE_EMBED: return KIND_EMBEDDING;
    case UCB_ROLE_HEAD: return KIND_HEAD;
    default: return KIND_ATTENTION;
    }
}

static enum kind kind_of_vector(enum ucb_vector v, bool has_experts)
{
    switch (v) {
    case UCB_VECTOR_ROUTER: return KIND_ROUTER;
    case UCB_VECTOR_SSM_CONV:
    case UCB_VECTOR_SSM_CONV_BIAS:
    case UCB_VECTOR_SSM_A_LOG:
    case UCB_VECTOR_SSM_D: return KIND_STATE_SPACE;
    case UCB_VECTOR_POSITIONS: return KIND_EMBEDDING;
    case UCB_VECTOR_HEAD_BIAS: return KIND_HEAD;
    default: break;
    }
    return v < UCB_VECTOR_BIAS
               ? KIND_NORMS
               : kind_of_role((enum ucb_role)(v - UCB_VECTOR_BIAS), has_experts);
}

static bool is_of_model(enum ucb_vector v)
{
    return v >= UCB_VECTOR_FINAL_NORM && v < UCB_VECTOR_BIAS;
}

static void add_matrix(struct kind_count *counts, const struct ucb_matrix *m, bool experts)
{
    struct kind_count *c = &counts[kind_of_role(m->role, experts)];
    c->parameters += (uint64_t)m->n_out * m->n_in;
    c->n_matrices++;
}

static void add_vectors(struct kind_count *counts, const struct ucb_model *model,
                        uint32_t layer, bool of_model, bool experts)
{
    for (unsigned v = 0; v < UCB_N_VECTORS; v++)
        if (is_of_model((enum ucb_vector)v) == of_model)
            counts[kind_of_vector((enum ucb_vector)v, experts)].parameters +=
                ucb_model_vector_size(model, layer, (enum ucb_vector)v);
}

static void count_kinds(const struct ucb_model *model, struct kind_count counts[N_KINDS])
{
    const struct ucb_arch *a = ucb_model_arch(model);
    add_matrix(counts, ucb_model_matrix(model, 0, UCB_ROLE_EMBED), false);
    for (uint32_t layer = 0; layer < a->n_layers; layer++) {
        bool experts = a->experts.n > 0 && a->layers[layer].ffn == 0;
        size_t n;
        const struct ucb_matrix *const *list = ucb_model_layer_matrices(model, layer, &n);
        for (size_t i = 0; i < n; i++) add_matrix(counts, list[i], experts);
        add_vectors(counts, model, layer, false, experts);
    }
    add_vectors(counts, model, 0, true, false);
    if (!a->tied_head) add_matrix(counts, ucb_model_matrix(model, 0, UCB_ROLE_HEAD), false);
}

static json_t *kinds_of(const struct ucb_model *model)
{
    struct kind_count counts[N_KINDS] = {{0}};
    json_t *list = json_array();
    count_kinds(model, counts);
    for (unsigned k = 0; k < N_KINDS; k++)
        if (counts[k].parameters > 0)
            json_array_append_new(list,
                                  json_pack("{s:s, s:I, s:I}", "kind", kind_names[k],
                                            "parameters", (json_int_t)counts[k].parameters,
                                            "matrices", (json_int_t)counts[k].n_matrices));
    return list;
}

/* ---- what the file says ---- */

static json_t *types_of(const struct ucb_checkpoint *c)
{
    uint64_t count[UCB_N_DTYPES] = {0}, elements[UCB_N_DTYPES] = {0},
             bytes[UCB_N_DTYPES] = {0};
    json_t *list = json_array();
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c, i);
        count[t->dtype]++;
        elements[t->dtype] += t->n_elements;
        bytes[t->dtype] += t->n_bytes;
    }
    for (unsigned d = 0; d < UCB_N_DTYPES; d++)
        if (count[d] > 0)
            json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "dtype",
                                                  ucb_dtype_name((enum ucb_dtype)d),
                                                  "tensors", (json_int_t)count[d],
                                                  "elements", (json_int_t)elements[d],
                                                  "bytes", (json_int_t)bytes[d]));
    return list;
}

static const char *positions_name(enum ucb_positions positions)
{
    switch (positions) {
    case UCB_POSITIONS_HALVES: return "rope, half-split";
    case UCB_POSITIONS_PAIRS: return "rope, adjacent";
    case UCB_POSITIONS_LEARNED: return "learned";
    default: return "none";
    }
}

static json_t *architecture_of(const struct ucb_arch *a)
{
    json_t *o = json_pack(
        "{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:f, s:i}", "layers",
        (int)a->n_layers, "hidden", (int)a->hidden, "heads", (int)a->n_heads, "kv_heads",
        (int)a->n_kv_heads, "head_dim", (int)a->head_dim, "ffn", (int)a->ffn, "vocabulary",
        (int)a->vocabulary, "tied_head", a->tied_head, "rope_theta", a->rope_theta,
        "norm_eps", (double)a->norm_eps, "rotary_dim", (int)a->rotary_dim);
    json_object_set_new(o, "positions", json_string(positions_name(a->positions)));
    json_object_set_new(o, "max_positions",
                        a->max_positions == 0 ? json_null()
                                              : json_integer((json_int_t)a->max_positions));
    json_object_set_new(o, "experts", json_integer((json_int_t)a->experts.n));
    json_object_set_new(o, "experts_used", json_integer((json_int_t)a->experts.used));
    return o;
}

static json_t *text_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? json_null() : ucb_json_text(text);
}

json_t *ucb_info_facts(const struct ucb_model *model, const struct ucb_catalog_model *known)
{
    const struct ucb_arch *a = ucb_model_arch(model);
    const struct ucb_checkpoint *c = ucb_model_checkpoint(model);
    uint64_t n = ucb_model_n_parameters(model), bytes = ucb_model_file_bytes(model);
    json_t *o = json_pack(
        "{s:o, s:n, s:s, s:I, s:I, s:f, s:o, s:o, s:o}", "path",
        ucb_json_text(ucb_model_path(model)), "sha256", "model_type", a->model_type,
        "parameters", (json_int_t)n, "file_bytes", (json_int_t)bytes, "bits_per_weight",
        8.0 * (double)bytes / (double)n, "architecture", architecture_of(a), "types",
        types_of(c), "kinds", kinds_of(model));
    if (o == NULL) return NULL;
    json_object_set_new(o, "format",
                        json_string(ucb_checkpoint_is_gguf(c) ? "gguf" : "safetensors"));
    json_object_set_new(o, "files", json_integer((json_int_t)ucb_checkpoint_n_files(c)));
    json_object_set_new(o, "name", text_or_null(known == NULL ? NULL : known->name));
    json_object_set_new(o, "licence", text_or_null(known == NULL ? NULL : known->licence));
    json_object_set_new(o, "warning", text_or_null(ucb_model_warning(model)));
    json_object_set_new(o, "weights", json_null());
    return o;
}

/* ---- weights ---- */

static json_t *entropy_json(const struct ucb_entropy *e)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "sign", e->sign, "exponent", e->exponent,
                     "mantissa", e->mantissa, "total", e->total);
}

static json_t *grid_json(const struct ucb_grid *g)
{
    char text[UCB_GRID_TEXT];
    json_t *o = json_pack("{s:s, s:s}", "verdict", ucb_grid_kind_name(g->kind), "text",
                          ucb_grid_text(g, text));
    bool found = ucb_grid_found(g);
    json_object_set_new(o, "block",
                        found && g->width > 0 ? json_integer(g->width) : json_null());
    json_object_set_new(o, "levels",
                        found && g->levels > 0 ? json_integer(g->levels) : json_null());
    json_object_set_new(o, "bits", found ? json_integer(g->bits) : json_null());
    json_object_set_new(o, "bits_per_weight",
                        found ? json_real(g->bits_per_weight) : json_null());
    return o;
}

static const char *dtype_text(enum ucb_dtype dtype)
{
    return dtype == UCB_N_DTYPES ? "all" : ucb_dtype_name(dtype);
}

static json_t *total_json(const struct ucb_survey_total *t)
{
    json_t *o = json_pack("{s:s, s:I, s:I, s:o, s:f}", "dtype", dtype_text(t->dtype),
                          "tensors", (json_int_t)t->n_tensors, "weights",
                          (json_int_t)t->n_weights, "entropy", entropy_json(&t->entropy),
                          "floor", t->floor);
    json_object_set_new(o, "counted_as",
                        t->counted_as == UCB_N_DTYPES
                            ? json_null()
                            : json_string(ucb_dtype_name(t->counted_as)));
    return o;
}

/* Mean patterns of a block by its width; a width that the row does not hold is left out. */
static json_t *distinct_json(const struct ucb_survey_tensor *t)
{
    static const char *const names[UCB_CENSUS_WIDTHS] = {"16",  "32",  "64",
                                                         "128", "256", "row"};
    json_t *o = json_object();
    for (unsigned i = 0; i < UCB_CENSUS_WIDTHS; i++)
        if (t->distinct[i] > 0)
            json_object_set_new(o, names[i],
                                json_pack("{s:f, s:i}", "mean", t->distinct[i], "max",
                                          (int)t->distinct_max[i]));
    return o;
}

static json_t *tensor_json(const struct ucb_survey_tensor *s)
{
    const struct ucb_tensor *t = s->tensor;
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[i]));
    json_t *o = json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "dtype",
                          ucb_dtype_name(t->dtype), "shape", shape, "bytes",
                          (json_int_t)t->n_bytes);
    if (s->counted_as == UCB_N_DTYPES || s->n_rows == 0) return o;
    json_object_set_new(o, "entropy", entropy_json(&s->entropy));
    json_object_set_new(o, "floor", json_real(s->floor));
    json_object_set_new(o, "grid", grid_json(&s->grid));
    json_object_set_new(o, "detected", grid_json(&s->detected));
    json_object_set_new(o, "distinct", distinct_json(s));
    json_object_set_new(o, "zeros", json_integer((json_int_t)s->n_zeros));
    json_object_set_new(o, "identical_rows", json_integer((json_int_t)s->n_rows_again));
    json_object_set_new(o, "trailing_zero_bits",
                        json_integer((json_int_t)s->facts.trailing_zeros));
    json_object_set_new(o, "even_share", json_real(s->facts.even_share));
    json_object_set_new(o, "same_as",
                        text_or_null(s->same_as == NULL ? NULL : s->same_as->name));
    return o;
}

static json_t *lattice_json(const struct ucb_lattice *l)
{
    char text[UCB_GRID_TEXT];
    const char *source = ucb_lattice_text(l, text);
    return json_pack("{s:b, s:o, s:f, s:I, s:I, s:o}", "is_source", l->is_source, "source",
                     text_or_null(source), "share", l->share, "judged_weights",
                     (json_int_t)l->n_judged, "grid_weights", (json_int_t)l->n_on_grid,
                     "grid", grid_json(&l->grid));
}

json_t *ucb_info_weights(const struct ucb_survey *s)
{
    char text[UCB_GRID_TEXT];
    json_t *totals = json_array(), *tensors = json_array();
    for (size_t i = 0; i < s->n_totals; i++)
        json_array_append_new(totals, total_json(&s->totals[i]));
    for (size_t i = 0; i < s->n_tensors; i++)
        json_array_append_new(tensors, tensor_json(&s->tensors[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "lattice_source",
                     text_or_null(ucb_lattice_text(&s->lattice, text)), "lattice",
                     lattice_json(&s->lattice), "all", total_json(&s->all), "types", totals,
                     "tensors", tensors);
}
