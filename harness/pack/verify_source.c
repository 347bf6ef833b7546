/*
 * verify_source.c - a pack's tensors beside those of the model it was made from, as bits.
 * The source is read as a checkpoint, so that weights which no engine would take (a NaN
 * with another payload) are compared like any other.
 */
#include <stdio.h>
#include <string.h>

#include "core/progress.h"
#include "model/checkpoint.h"
#include "pack/pack_source.h"
#include "pack/verify.h"

struct comparing {
    const struct ucb_packfile *pack;
    struct ucb_checkpoint *source;
    struct ucb_pack_decoder *decoder;
    struct ucb_arena arena;
    struct ucb_source_files files;
    struct ucb_progress progress;
    const struct ucb_tensor *tensor; /* at work */
    uint64_t differs_at;             /* byte of it, UINT64_MAX: none */
    uint32_t n_equal;
    char first[500]; /* what differs first; empty: nothing */
};

static ucb_status compare_bytes(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                                struct ucb_err *err)
{
    struct comparing *c = context;
    const uint8_t *own = c->tensor->data + at;
    (void)err;
    if (c->differs_at != UINT64_MAX || memcmp(own, bytes, n) == 0) return UCB_OK;
    size_t i = 0;
    while (own[i] == bytes[i]) i++;
    c->differs_at = at + i;
    return UCB_OK;
}

static void describe(const struct ucb_tensor *t, char out[160])
{
    int n = snprintf(out, 160, "%s [", ucb_dtype_name(t->dtype));
    for (uint32_t i = 0; i < t->n_dims && n < 140; i++)
        n += snprintf(out + n, 160 - (size_t)n, i == 0 ? "%llu" : ", %llu",
                      (unsigned long long)t->shape[i]);
    snprintf(out + n, 160 - (size_t)n, "]");
}

static bool same_kind(const struct ucb_pack_piece *piece, const struct ucb_tensor *t)
{
    return t->dtype == piece->dtype && t->n_dims == piece->n_dims &&
           memcmp(t->shape, piece->shape, t->n_dims * sizeof(*t->shape)) == 0;
}

static void note_difference(struct comparing *c)
{
    const struct ucb_tensor *t = c->tensor;
    uint64_t element = c->differs_at / ucb_dtype_block_bytes(t->dtype) *
                       ucb_dtype_block_elements(t->dtype);
    uint64_t n_in = t->n_dims == 0 ? 1 : t->shape[t->n_dims - 1];
    snprintf(c->first, sizeof(c->first),
             "%s differs from the source first at element %llu (row %llu, column %llu)",
             t->name, (unsigned long long)element, (unsigned long long)(element / n_in),
             (unsigned long long)(element % n_in));
}

static ucb_status compare_piece(struct comparing *c, uint32_t index, struct ucb_err *err)
{
    const struct ucb_pack_piece *piece = &c->pack->pieces[index];
    const struct ucb_tensor *t = ucb_checkpoint_find(c->source, piece->tensor);
    char found[160];
    if (t == NULL) {
        snprintf(c->first, sizeof(c->first), "%s: the source has no such tensor",
                 piece->tensor);
        return UCB_OK;
    }
    if (!same_kind(piece, t)) {
        describe(t, found);
        snprintf(c->first, sizeof(c->first),
                 "%s: %s in the source, %s of other shape or dtype in the pack",
                 piece->tensor, found, ucb_dtype_name(piece->dtype));
        return UCB_OK;
    }
    struct ucb_err why = {0};
    c->tensor = t;
    c->differs_at = UINT64_MAX;
    ucb_status status = ucb_pack_decode_piece(c->decoder, index, compare_bytes, c, &why);
    ucb_progress_add(&c->progress, (double)t->n_bytes, t->name);
    if (c->differs_at != UINT64_MAX)
        note_difference(c);
    else if (status == UCB_CORRUPT)
        snprintf(c->first, sizeof(c->first), "%.480s", why.text);
    else if (status != UCB_OK && err != NULL)
        *err = why;
    c->n_equal += c->first[0] == '\0';
    return status == UCB_CORRUPT ? UCB_OK : status;
}

/* Which pieces are the source's own: of an exact pack all. */
static bool is_own(const struct ucb_packfile *p, const struct ucb_pack_piece *piece)
{
    return piece->tensor != NULL && !piece->is_gain &&
           (p->is_exact || piece->kind != UCB_PIECE_TENSOR);
}

static ucb_status compare_tensors(struct comparing *c, struct ucb_err *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->pack->n_pieces && c->first[0] == '\0'; i++)
        if (is_own(c->pack, &c->pack->pieces[i])) {
            UCB_TRY(compare_piece(c, i, err));
            n++;
        }
    if (c->first[0] != '\0' || !c->pack->is_exact) return UCB_OK;
    for (size_t i = 0; i < ucb_checkpoint_n_tensors(c->source); i++) {
        const struct ucb_tensor *t = ucb_checkpoint_tensor(c->source, i);
        bool found = t->n_bytes == 0;
        for (uint32_t k = 0; k < c->pack->n_pieces && !found; k++)
            found = c->pack->pieces[k].tensor != NULL &&
                    strcmp(c->pack->pieces[k].tensor, t->name) == 0;
        if (found) continue;
        snprintf(c->first, sizeof(c->first), "%s: the source has it, the pack does not",
                 t->name);
        return UCB_OK;
    }
    return UCB_OK;
}

static const struct ucb_pack_entry *find_file(const struct ucb_packfile *p,
                                              const char *name)
{
    for (uint32_t i = 0; i < p->n_files; i++)
        if (strcmp(p->files[i].name, name) == 0) return &p->files[i];
    return NULL;
}

/* All tensors are equal: are the files? Order, headers, gaps, what lies beside. */
static void compare_files(const struct comparing *c, char differs[400])
{
    const struct ucb_source_files *files = &c->files;
    for (size_t i = 0; i < files->n; i++) {
        const struct ucb_source_file *f = &files->list[i];
        const struct ucb_pack_entry *own = find_file(c->pack, f->name);
        if (own == NULL && files->n == 1 && c->pack->n_files == 1) own = c->pack->files;
        if (own != NULL && strcmp(own->sha256, f->sha256) == 0) continue;
        snprintf(differs, 400,
                 own == NULL ? "the pack has no %s" : "%s has another SHA-256", f->name);
        return;
    }
}

static void conclude(const struct comparing *c, struct ucb_verify_result *r)
{
    static const char name[] = "source_bits_equal";
    char differs[400] = "";
    if (c->first[0] != '\0') {
        ucb_check_add(r, name, UCB_CHECK_FAIL, "%s", c->first);
        return;
    }
    if (!c->pack->is_exact && strcmp(c->files.model_sha256, c->pack->source_sha256) != 0) {
        ucb_check_add(r, name, UCB_CHECK_FAIL,
                      "the source has SHA-256 %s, the pack was made from %s",
                      c->files.model_sha256, c->pack->source_sha256);
        return;
    }
    if (c->pack->is_exact) compare_files(c, differs);
    if (differs[0] != '\0')
        ucb_check_add(r, name, UCB_CHECK_FAIL,
                      "all %u tensors are equal to the source's, but the files are not: %s",
                      c->n_equal, differs);
    else if (c->pack->is_exact)
        ucb_check_add(r, name, UCB_CHECK_PASS,
                      "%u tensors and all files are equal to the source's, bit for bit",
                      c->n_equal);
    else
        ucb_check_add(r, name, UCB_CHECK_SKIPPED,
                      "%s does not promise the source's bits; the %u tensors that it left "
                      "alone have them",
                      c->pack->spec, c->n_equal);
}

static ucb_status compare(struct comparing *c, const char *source,
                          struct ucb_verify_result *r, struct ucb_err *err)
{
    UCB_TRY(ucb_checkpoint_open(source, &c->source, err));
    UCB_TRY(ucb_source_files_list(c->source, &c->arena, &c->files, err));
    memcpy(r->source_sha256, c->files.model_sha256, sizeof(r->source_sha256));
    struct ucb_err why = {0};
    ucb_status status = ucb_pack_decoder_open(c->pack, NULL, &c->decoder, &why);
    if (status == UCB_CORRUPT) {
        ucb_check_add(r, "source_bits_equal", UCB_CHECK_FAIL, "%s", why.text);
        return UCB_OK;
    }
    if (status != UCB_OK && err != NULL) *err = why;
    UCB_TRY(status);
    UCB_TRY(compare_tensors(c, err));
    conclude(c, r);
    return UCB_OK;
}

ucb_status ucb_verify_source(const struct ucb_verify_options *o,
                             const struct ucb_packfile *pack, struct ucb_verify_result *r,
                             struct ucb_err *err)
{
    struct comparing c = {.pack = pack};
    if (o->source == NULL) {
        ucb_check_add(r, "source_bits_equal", UCB_CHECK_SKIPPED,
                      "no --source to compare with");
        return UCB_OK;
    }
    ucb_arena_init(&c.arena);
    ucb_progress_start(&c.progress, "comparing with the source",
                       (double)pack->unpacked_bytes);
    ucb_status status = compare(&c, o->source, r, err);
    ucb_progress_end(&c.progress);
    ucb_pack_decoder_close(c.decoder);
    ucb_checkpoint_close(c.source);
    ucb_arena_free(&c.arena);
    return status;
}
