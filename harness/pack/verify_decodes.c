/*
 * verify_decodes.c - every payload decoded four times: twice in one thread, then by two and
 * by three; and the files put together from them.
 */
#include <stdio.h>
#include <string.h>

#include "core/progress.h"
#include "pack/verify.h"

enum { AGAIN = 1, TWO_THREADS = 2, THREE_THREADS = 3, N_DECODES = 4 };

struct decodes {
    const struct ucb_packfile *pack;
    struct ucb_pool *pool[N_DECODES];
    struct ucb_pack_decoder *decoder[N_DECODES];
    struct ucb_progress progress;
    uint32_t n_decoded;
    /* The first that went wrong of each kind; empty: none. */
    char differs[N_DECODES][500];
    char recorded[500];
    char file[500];
};

static ucb_status open_decoders(struct decodes *d, struct ucb_err *err)
{
    for (int i = 0; i < N_DECODES; i++) {
        if (i >= TWO_THREADS) UCB_TRY(ucb_pool_open((unsigned)i, &d->pool[i], err));
        UCB_TRY(ucb_pack_decoder_open(d->pack, d->pool[i], &d->decoder[i], err));
    }
    return UCB_OK;
}

static void note(char out[500], const char *text)
{
    if (out[0] == '\0') snprintf(out, 500, "%s", text);
}

static void note_element(char out[500], const struct ucb_pack_matrix *m, const uint8_t *a,
                         const uint8_t *b)
{
    uint64_t at = 0, bytes = ucb_dtype_block_bytes(m->dtype),
             elements = ucb_dtype_block_elements(m->dtype);
    char text[500];
    while (a[at] == b[at]) at++;
    uint64_t element = at / bytes * elements;
    snprintf(text, sizeof(text), "%s[%llu][%llu] differs between two decodes",
             m->matrix.name, (unsigned long long)(element / m->matrix.n_in),
             (unsigned long long)(element % m->matrix.n_in));
    note(out, text);
}

/* A payload that cannot be decoded is not what was recorded; without memory nothing is
 * known. */
static ucb_status decode_matrix(struct decodes *d, uint32_t i, struct ucb_err *err)
{
    const struct ucb_pack_matrix *m = &d->pack->matrices[i];
    const uint8_t *bytes[N_DECODES];
    uint8_t digest[N_DECODES][UCB_SHA256_BYTES];
    char text[400];
    for (int k = 0; k < N_DECODES; k++) {
        struct ucb_err why = {0};
        ucb_status status = ucb_pack_decode_matrix(d->decoder[k], i, &bytes[k], digest[k],
                                                   &why);
        if (status == UCB_CORRUPT) {
            note(d->recorded, why.text);
            return UCB_OK;
        }
        if (status != UCB_OK && err != NULL) *err = why;
        UCB_TRY(status);
    }
    for (int k = AGAIN; k < N_DECODES; k++)
        if (memcmp(bytes[0], bytes[k], m->n_bytes) != 0)
            note_element(d->differs[k], m, bytes[0], bytes[k]);
    snprintf(text, sizeof(text), "%s decodes to other bits than when it was packed",
             m->matrix.name);
    if (memcmp(digest[0], m->sha256, sizeof(m->sha256)) != 0) note(d->recorded, text);
    d->n_decoded++;
    return UCB_OK;
}

static ucb_status ignore(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                         struct ucb_err *err)
{
    (void)context, (void)at, (void)bytes, (void)n, (void)err;
    return UCB_OK;
}

/* A stream of the codec carries its tensor's digest, and refuses what does not have it. */
static ucb_status decode_stream(struct decodes *d, uint32_t piece, struct ucb_err *err)
{
    bool whole[N_DECODES];
    struct ucb_err why = {0};
    for (int k = 0; k < N_DECODES; k++) {
        ucb_status status = ucb_pack_decode_piece(d->decoder[k], piece, ignore, NULL, &why);
        whole[k] = status == UCB_OK;
        if (status == UCB_CORRUPT) note(d->recorded, why.text);
        if (status == UCB_OK || status == UCB_CORRUPT) continue;
        if (err != NULL) *err = why;
        return status;
    }
    for (int k = AGAIN; k < N_DECODES; k++)
        if (whole[k] != whole[0]) note(d->differs[k], why.text);
    d->n_decoded += whole[0];
    return UCB_OK;
}

static ucb_status hash(void *context, uint64_t at, const uint8_t *bytes, size_t n,
                       struct ucb_err *err)
{
    (void)at, (void)err;
    ucb_sha256_update(context, bytes, n);
    return UCB_OK;
}

/* The whole file as `unpack` would write it. */
static ucb_status put_together(struct decodes *d, const struct ucb_pack_entry *f,
                               struct ucb_err *err)
{
    struct ucb_sha256 h;
    struct ucb_err why = {0};
    char hex[UCB_SHA256_HEX], text[400];
    ucb_status status = UCB_OK;
    ucb_sha256_init(&h);
    for (uint32_t i = 0; i < f->n_pieces && status == UCB_OK; i++)
        status = ucb_pack_decode_piece(d->decoder[THREE_THREADS], f->first_piece + i, hash,
                                       &h, &why);
    ucb_sha256_final_hex(&h, hex);
    ucb_progress_add(&d->progress, (double)f->n_bytes, f->name);
    snprintf(text, sizeof(text), "%s comes out with another SHA-256 than its source",
             f->name);
    if (status == UCB_CORRUPT) note(d->file, why.text);
    if (status == UCB_OK && f->is_source && strcmp(hex, f->sha256) != 0)
        note(d->file, text);
    if (status == UCB_OK || status == UCB_CORRUPT) return UCB_OK;
    if (err != NULL) *err = why;
    return status;
}

static ucb_status decode_all(struct decodes *d, struct ucb_err *err)
{
    const struct ucb_packfile *p = d->pack;
    UCB_TRY(open_decoders(d, err));
    for (uint32_t i = 0; i < p->n_matrices; i++) {
        UCB_TRY(decode_matrix(d, i, err));
        ucb_progress_add(&d->progress, (double)p->matrices[i].n_bytes,
                         p->matrices[i].matrix.name);
    }
    for (uint32_t i = 0; i < p->n_pieces; i++) {
        if (p->pieces[i].kind != UCB_PIECE_CODED) continue;
        UCB_TRY(decode_stream(d, i, err));
        ucb_progress_add(&d->progress, (double)p->pieces[i].n_bytes, p->pieces[i].tensor);
    }
    for (uint32_t i = 0; i < p->n_files; i++) UCB_TRY(put_together(d, &p->files[i], err));
    return UCB_OK;
}

static void add(struct ucb_verify_result *r, const char *name, const char *wrong,
                const char *right, uint32_t n)
{
    if (wrong[0] != '\0')
        ucb_check_add(r, name, UCB_CHECK_FAIL, "%s", wrong);
    else if (n == 0)
        ucb_check_add(r, name, UCB_CHECK_SKIPPED, "the pack holds nothing that is coded");
    else
        ucb_check_add(r, name, UCB_CHECK_PASS, right, n);
}

static void conclude(const struct decodes *d, struct ucb_verify_result *r)
{
    const char *threads = d->differs[TWO_THREADS][0] != '\0' ? d->differs[TWO_THREADS]
                                                             : d->differs[THREE_THREADS];
    add(r, "decode_deterministic", d->differs[AGAIN],
        "%u tensors decoded twice: equal bits", d->n_decoded);
    add(r, "threads_invariant", threads,
        "%u tensors decoded by 1, 2 and 3 threads: equal bits", d->n_decoded);
    add(r, "recorded_decode_equal", d->recorded,
        "%u tensors decode to the SHA-256 recorded when they were packed", d->n_decoded);
    if (d->file[0] != '\0')
        ucb_check_add(r, "roundtrip_bit_exact", UCB_CHECK_FAIL, "%s", d->file);
    else if (!d->pack->is_exact)
        ucb_check_add(
            r, "roundtrip_bit_exact", UCB_CHECK_SKIPPED,
            "%s does not keep the source's bits; the files it unpacks to were put "
            "together and have every digest that is recorded",
            d->pack->spec);
    else
        ucb_check_add(r, "roundtrip_bit_exact", UCB_CHECK_PASS,
                      "%u files put together: each has the SHA-256 of the original",
                      d->pack->n_files);
}

ucb_status ucb_verify_decodes(const struct ucb_packfile *pack, struct ucb_verify_result *r,
                              struct ucb_err *err)
{
    static struct decodes d;
    uint64_t work = pack->unpacked_bytes;
    d = (struct decodes){.pack = pack};
    for (uint32_t i = 0; i < pack->n_matrices; i++) work += pack->matrices[i].n_bytes;
    for (uint32_t i = 0; i < pack->n_pieces; i++)
        if (pack->pieces[i].kind == UCB_PIECE_CODED) work += pack->pieces[i].n_bytes;
    ucb_progress_start(&d.progress, "decoding", (double)work);
    ucb_status status = decode_all(&d, err);
    if (status == UCB_CORRUPT) { /* side data */
        note(d.recorded, err == NULL ? "side data" : err->text);
        status = UCB_OK;
    }
    ucb_progress_end(&d.progress);
    if (status == UCB_OK) conclude(&d, r);
    for (int i = 0; i < N_DECODES; i++) {
        ucb_pack_decoder_close(d.decoder[i]);
        ucb_pool_close(d.pool[i]);
    }
    return status;
}
