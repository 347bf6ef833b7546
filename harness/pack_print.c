/* pack_print.c - see pack_print.h. Every byte of the file is counted once. */
#include "pack_print.h"

#include <stdio.h>

#include <jansson.h>

#include "core/json.h"

struct split {
    uint64_t payload[UCB_N_PARTS], stream[UCB_N_PARTS]; /* of matrices, of coded tensors */
    uint64_t payloads, streams, side_data, gains, stored_tensors, rest;
    uint64_t matrix_weights; /* of the matrices that the chain wrote */
    uint64_t weights;        /* of all tensors, equal ones once */
};

static uint64_t elements(const struct ucb_pack_piece *piece)
{
    return piece->n_bytes / ucb_dtype_block_bytes(piece->dtype) *
           ucb_dtype_block_elements(piece->dtype);
}

static void count_piece(const struct ucb_packfile *p, const struct ucb_pack_piece *piece,
                        struct split *s)
{
    if (piece->tensor != NULL && piece->kind != UCB_PIECE_COPY)
        s->weights += elements(piece);
    if (piece->kind == UCB_PIECE_CODED) {
        for (int i = 0; i < UCB_N_PARTS; i++) s->stream[i] += piece->part_bytes[i];
        s->streams += p->blobs[piece->blob].n_bytes;
    }
    if (piece->kind != UCB_PIECE_STORED) return;
    *(piece->is_gain          ? &s->gains
      : piece->tensor != NULL ? &s->stored_tensors
                              : &s->rest) += piece->n_bytes;
}

static struct split count(const struct ucb_packfile *p)
{
    struct split s = {{0}, {0}, 0, 0, 0, 0, 0, 0, 0, 0};
    for (uint32_t i = 0; i < p->n_matrices; i++) {
        const struct ucb_pack_matrix *m = &p->matrices[i];
        for (int k = 0; k < UCB_N_PARTS; k++) s.payload[k] += m->part_bytes[k];
        s.payloads += p->blobs[m->blob].n_bytes;
        s.matrix_weights += (uint64_t)m->matrix.n_out * m->matrix.n_in;
    }
    if (p->shared != UINT32_MAX) s.side_data = p->blobs[p->shared].n_bytes;
    for (uint32_t i = 0; i < p->n_pieces; i++) count_piece(p, &p->pieces[i], &s);
    return s;
}

static json_t *parts(const uint64_t bytes[UCB_N_PARTS])
{
    json_t *o = json_object();
    for (int i = 0; i < UCB_N_PARTS; i++)
        json_object_set_new(o, ucb_part_name((enum ucb_part)i),
                            json_integer((json_int_t)bytes[i]));
    return o;
}

static double bits(uint64_t n_bytes, uint64_t n_weights)
{
    return n_weights == 0 ? 0.0 : 8.0 * (double)n_bytes / (double)n_weights;
}

static json_t *files_of(const struct ucb_packfile *p)
{
    json_t *files = json_array();
    for (uint32_t i = 0; i < p->n_files; i++) {
        const struct ucb_pack_entry *f = &p->files[i];
        json_t *o = json_pack("{s:s, s:I, s:b}", "name", f->name, "bytes",
                              (json_int_t)f->n_bytes, "original", f->is_source);
        if (f->is_source) json_object_set_new(o, "sha256", json_string(f->sha256));
        json_array_append_new(files, o);
    }
    return files;
}

static json_t *describe(const struct ucb_packfile *p, const struct split *s)
{
    json_t *bytes = json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "payloads", parts(s->payload),
        "streams", parts(s->stream), "side_data", (json_int_t)s->side_data, "gains",
        (json_int_t)s->gains, "stored_tensors", (json_int_t)s->stored_tensors,
        "other_files_and_headers", (json_int_t)s->rest, "header",
        (json_int_t)UCB_PACKFILE_HEADER, "manifest", (json_int_t)p->manifest_bytes,
        "padding", (json_int_t)p->padding_bytes, "total", (json_int_t)p->map.n_bytes);
    return json_pack(
        "{s:o, s:s, s:i, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:o, s:o}",
        "path", ucb_json_text(p->path), "format", "ucb", "version", UCB_PACKFILE_VERSION,
        "method", p->spec, "identity", p->identity, "scope", ucb_scope_name(p->scope),
        "seed", (json_int_t)p->seed, "calib", p->calib, "source_sha256", p->source_sha256,
        "model_type", p->source_type, "build", p->build, "exact", p->is_exact, "weights",
        (json_int_t)s->weights, "matrices", (json_int_t)p->n_matrices, "matrix_weights",
        (json_int_t)s->matrix_weights, "file_bytes", (json_int_t)p->map.n_bytes,
        "bits_per_weight", bits(p->map.n_bytes, s->weights), "matrix_bits_per_weight",
        bits(s->payloads + s->side_data, s->matrix_weights), "unpacked_bytes",
        (json_int_t)p->unpacked_bytes, "bytes", bytes, "files", files_of(p));
}

static void print_parts(const char *what, const uint64_t bytes[UCB_N_PARTS])
{
    for (int i = 0; i < UCB_N_PARTS; i++)
        if (bytes[i] > 0)
            printf("  %12llu  %s: %s\n", (unsigned long long)bytes[i], what,
                   ucb_part_name((enum ucb_part)i));
}

static void print_count(uint64_t n_bytes, const char *what)
{
    if (n_bytes > 0) printf("  %12llu  %s\n", (unsigned long long)n_bytes, what);
}

static void print_for_people(const struct ucb_packfile *p, const struct split *s)
{
    printf("%s: a pack of %s, %zu bytes, %.4f bits per weight of the whole checkpoint\n",
           p->path, p->spec, p->map.n_bytes, bits(p->map.n_bytes, s->weights));
    printf("  made from   %s%s%s, scope %s%s%s\n", p->source_sha256,
           p->source_type[0] == '\0' ? "" : ", ", p->source_type, ucb_scope_name(p->scope),
           p->calib[0] == '\0' ? "" : ", calibrated on ", p->calib);
    printf("  method      %s\n", p->identity);
    if (p->n_matrices > 0)
        printf("  matrices    %u, %llu weights, %.4f bits per weight\n", p->n_matrices,
               (unsigned long long)s->matrix_weights,
               bits(s->payloads + s->side_data, s->matrix_weights));
    printf("  unpacks to  %llu bytes%s\n", (unsigned long long)p->unpacked_bytes,
           p->is_exact ? ": the original files, byte for byte" : " of decoded weights");
    for (uint32_t i = 0; i < p->n_files; i++)
        printf("  %12llu  %s\n", (unsigned long long)p->files[i].n_bytes, p->files[i].name);
    printf("  bytes of the pack\n");
    print_parts("matrices", s->payload);
    print_parts("coded tensors", s->stream);
    print_count(s->side_data, "side data of all matrices");
    print_count(s->gains, "tuned norm gains");
    print_count(s->stored_tensors, "tensors as the source has them");
    print_count(s->rest, "headers and files beside the weights");
    print_count(UCB_PACKFILE_HEADER + p->manifest_bytes, "header and manifest");
    print_count(p->padding_bytes, "padding");
}

ucb_status ucb_pack_print(const struct ucb_packfile *p, bool as_json, struct ucb_err *err)
{
    const struct split s = count(p);
    if (!as_json) {
        print_for_people(p, &s);
        return UCB_OK;
    }
    return ucb_json_print(describe(p, &s), "the pack", err);
}
