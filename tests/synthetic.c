/*
 * synthetic.c - see synthetic.h. A shard is its header and then its tensors, one after the
 * other; weights are made a block at a time by a thread each.
 */
#include "synthetic.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct synthetic_shape synthetic_8b = {"8B", 32,    4096,   32,   8,
                                             128,  14336, 128256, false};
const struct synthetic_shape synthetic_2b = {"2B", 28, 2048, 32, 8, 64, 8192, 128256, true};

static const uint64_t shard_bytes = (uint64_t)4 << 30;
enum {
    MAX_TENSORS = 2048,
    NAME_CHARS = 80,
    BLOCK_VALUES = 1 << 22, /* of one thread between two writes */
    N_THREADS = 2
};

struct tensor {
    char name[NAME_CHARS];
    uint64_t rows, columns; /* columns 0: a norm */
    uint32_t shard;
};

struct list {
    struct tensor *tensors; /* [MAX_TENSORS] */
    size_t n;
    uint32_t n_shards;
    uint64_t shard_fill;
};

static uint64_t n_values(const struct tensor *t)
{
    return t->columns == 0 ? t->rows : t->rows * t->columns;
}

static void add(struct list *list, uint64_t rows, uint64_t columns, const char *name)
{
    struct tensor *t = &list->tensors[list->n++];
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->rows = rows;
    t->columns = columns;
    uint64_t n_bytes = 2 * n_values(t);
    if (list->n_shards == 0 || list->shard_fill + n_bytes > shard_bytes) {
        list->n_shards++;
        list->shard_fill = 0;
    }
    list->shard_fill += n_bytes;
    t->shard = list->n_shards;
}

static void add_of_layer(struct list *list, uint32_t layer, const char *part, uint64_t rows,
                         uint64_t columns)
{
    char name[NAME_CHARS];
    snprintf(name, sizeof(name), "model.layers.%" PRIu32 ".%s.weight", layer, part);
    add(list, rows, columns, name);
}

static void list_tensors(struct list *list, const struct synthetic_shape *s)
{
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    add(list, s->vocabulary, s->hidden, "model.embed_tokens.weight");
    for (uint32_t i = 0; i < s->layers; i++) {
        add_of_layer(list, i, "input_layernorm", s->hidden, 0);
        add_of_layer(list, i, "self_attn.q_proj", q, s->hidden);
        add_of_layer(list, i, "self_attn.k_proj", kv, s->hidden);
        add_of_layer(list, i, "self_attn.v_proj", kv, s->hidden);
        add_of_layer(list, i, "self_attn.o_proj", s->hidden, q);
        add_of_layer(list, i, "post_attention_layernorm", s->hidden, 0);
        add_of_layer(list, i, "mlp.gate_proj", s->ffn, s->hidden);
        add_of_layer(list, i, "mlp.up_proj", s->ffn, s->hidden);
        add_of_layer(list, i, "mlp.down_proj", s->hidden, s->ffn);
    }
    add(list, s->hidden, 0, "model.norm.weight");
    if (!s->tied) add(list, s->vocabulary, s->hidden, "lm_head.weight");
}

uint64_t synthetic_layer_weights(const struct synthetic_shape *s)
{
    uint64_t q = (uint64_t)s->heads * s->head_dim, kv = (uint64_t)s->kv_heads * s->head_dim;
    return s->hidden * (2 * q + 2 * kv + 3 * (uint64_t)s->ffn);
}

uint64_t synthetic_weights(const struct synthetic_shape *s)
{
    uint64_t norms = (2 * (uint64_t)s->layers + 1) * s->hidden,
             table = (uint64_t)s->vocabulary * s->hidden;
    return s->layers * synthetic_layer_weights(s) + norms + (s->tied ? 1 : 2) * table;
}

/* ---- values ---- */

struct block {
    uint16_t *out;
    uint64_t first, n, seed;
    float step; /* 0: ones */
};

static uint16_t bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Four values of every hash (the finalizer of SplitMix64; Steele, Lea, Flood 2014). */
static void *fill(void *context)
{
    const struct block *b = context;
    for (uint64_t i = 0; i < b->n; i += 4) {
        uint64_t h = b->seed + (b->first + i) / 4 * 0x9e3779b97f4a7c15u;
        h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
        h = (h ^ h >> 27) * 0x94d049bb133111ebu;
        h ^= h >> 31;
        for (uint64_t k = 0; k < 4 && i + k < b->n; k++)
            b->out[i + k] = b->step == 0 ? 0x3f80
                                         : bf16_of((float)(int16_t)(h >> 16 * k) * b->step);
    }
    return NULL;
}

/* Uniform in [-a, a) with a standard deviation of 1 / sqrt(columns). */
static float step_of(const struct tensor *t)
{
    return t->columns == 0 ? 0 : sqrtf(3.0f / (float)t->columns) / 32768.0f;
}

static int write_values(FILE *file, const struct tensor *t, size_t index, uint16_t *room)
{
    uint64_t n = n_values(t), seed = (index + 1) * 0xd1342543de82ef95u;
    for (uint64_t first = 0; first < n; first += (uint64_t)N_THREADS * BLOCK_VALUES) {
        pthread_t threads[N_THREADS];
        struct block blocks[N_THREADS] = {0};
        uint64_t total = 0;
        int started = 0;
        for (; started < N_THREADS && first + total < n; started++) {
            uint64_t left = n - first - total;
            blocks[started] = (struct block){room + total, first + total,
                                             left < BLOCK_VALUES ? left : BLOCK_VALUES,
                                             seed, step_of(t)};
            if (pthread_create(&threads[started], NULL, fill, &blocks[started]) != 0) break;
            total += blocks[started].n;
        }
        for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
        if (total == 0 || fwrite(room, 2, total, file) != total) return 1;
        if (started < N_THREADS && first + total < n) return 1;
    }
    return 0;
}

/* ---- files ---- */

static void path_of(char *out, size_t size, const char *folder, const char *name)
{
    snprintf(out, size, "%s/%s", folder, name);
}

static void shard_name(char *out, size_t size, const struct list *list, uint32_t shard)
{
    snprintf(out, size, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", shard,
             list->n_shards);
}

static int complain(const char *path)
{
    fprintf(stderr, "synthetic: cannot write %s\n", path);
    return 1;
}

static size_t format_header(char *out, size_t size, const struct list *list, uint32_t shard)
{
    uint64_t at = 0;
    size_t n = (size_t)snprintf(out, size, "{");
    for (size_t i = 0; i < list->n; i++) {
        const struct tensor *t = &list->tensors[i];
        uint64_t end = at + 2 * n_values(t);
        char shape[64];
        if (t->shard != shard) continue;
        if (t->columns == 0)
            snprintf(shape, sizeof(shape), "%" PRIu64, t->rows);
        else
            snprintf(shape, sizeof(shape), "%" PRIu64 ",%" PRIu64, t->rows, t->columns);
        n += (size_t)snprintf(out + n, size - n,
                              "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],"
                              "\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                              at == 0 ? "" : ",", t->name, shape, at, end);
        at = end;
    }
    n += (size_t)snprintf(out + n, size - n, "}");
    while (n % 8 != 0) out[n++] = ' ';
    return n;
}

static int write_shard(const char *folder, const struct list *list, uint32_t shard,
                       uint16_t *room)
{
    char name[64], path[1024];
    size_t size = (size_t)MAX_TENSORS * 200;
    char *header = malloc(size);
    shard_name(name, sizeof(name), list, shard);
    path_of(path, sizeof(path), folder, name);
    FILE *file = header == NULL ? NULL : fopen(path, "wb");
    int failed = file == NULL;
    if (!failed) {
        uint64_t n = format_header(header, size, list, shard);
        failed = fwrite(&n, sizeof(n), 1, file) != 1 || fwrite(header, 1, n, file) != n;
    }
    for (size_t i = 0; i < list->n && !failed; i++)
        if (list->tensors[i].shard == shard)
            failed = write_values(file, &list->tensors[i], i, room);
    if (file != NULL && fclose(file) != 0) failed = 1;
    free(header);
    return failed ? complain(path) : 0;
}

static int write_index(const char *folder, const struct list *list,
                       const struct synthetic_shape *shape)
{
    char path[1024], name[64];
    path_of(path, sizeof(path), folder, "model.safetensors.index.json");
    FILE *file = fopen(path, "w");
    if (file == NULL) return complain(path);
    fprintf(file, "{\"metadata\": {\"total_size\": %" PRIu64 "}, \"weight_map\": {",
            2 * synthetic_weights(shape));
    for (size_t i = 0; i < list->n; i++) {
        shard_name(name, sizeof(name), list, list->tensors[i].shard);
        fprintf(file, "%s\n\"%s\": \"%s\"", i == 0 ? "" : ",", list->tensors[i].name, name);
    }
    fputs("}}\n", file);
    return fclose(file) == 0 ? 0 : complain(path);
}

static int write_config(const char *folder, const struct synthetic_shape *s)
{
    char path[1024];
    path_of(path, sizeof(path), folder, "config.json");
    FILE *file = fopen(path, "w");
    if (file == NULL) return complain(path);
    fprintf(
        file,
        "{\"model_type\": \"llama\", \"hidden_size\": %u, \"intermediate_size\": %u,\n"
        " \"num_hidden_layers\": %u, \"num_attention_heads\": %u, \"num_key_value_heads\": %u,\n"
        " \"head_dim\": %u, \"vocab_size\": %u, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-05,\n"
        " \"rope_theta\": 500000.0, \"max_position_embeddings\": 8192, \"tie_word_embeddings\": %s,\n"
        " \"bos_token_id\": 256, \"torch_dtype\": \"bfloat16\"}\n",
        s->hidden, s->ffn, s->layers, s->heads, s->kv_heads, s->head_dim, s->vocabulary,
        s->tied ? "true" : "false");
    return fclose(file) == 0 ? 0 : complain(path);
}

/* The character that stands for a byte in the file: itself where that prints, else the next
 * one from U+0100 on. */
static unsigned character_of(unsigned byte, unsigned *next)
{
    bool prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
                  byte >= 0xae;
    return prints ? byte : (*next)++;
}

static int write_tokenizer(const char *folder)
{
    char path[1024];
    unsigned next = 0x100;
    path_of(path, sizeof(path), folder, "tokenizer.json");
    FILE *file = fopen(path, "w");
    if (file == NULL) return complain(path);
    fputs("{\"added_tokens\": [{\"id\": 256, \"content\": \"<s>\", \"special\": true,"
          " \"single_word\": false, \"lstrip\": false, \"rstrip\": false,"
          " \"normalized\": false}],\n \"normalizer\": null,"
          " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false,"
          " \"trim_offsets\": true, \"use_regex\": true},\n \"post_processor\": null,"
          " \"decoder\": {\"type\": \"ByteLevel\"},\n"
          " \"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {",
          file);
    for (unsigned byte = 0; byte < 256; byte++)
        fprintf(file, "%s\"\\u%04x\": %u", byte == 0 ? "" : ", ", character_of(byte, &next),
                byte);
    fputs("}}}\n", file);
    return fclose(file) == 0 ? 0 : complain(path);
}

int synthetic_write(const char *folder, const struct synthetic_shape *shape)
{
    struct list list = {calloc(MAX_TENSORS, sizeof(struct tensor)), 0, 0, 0};
    uint16_t *room = malloc(sizeof(*room) * N_THREADS * BLOCK_VALUES);
    int failed = list.tensors == NULL || room == NULL;
    if (!failed && 9 * (uint64_t)shape->layers + 3 > MAX_TENSORS) failed = 1;
    if (failed) fprintf(stderr, "synthetic: too many layers, or no memory\n");
    if (!failed) {
        list_tensors(&list, shape);
        failed = write_config(folder, shape) || write_tokenizer(folder) ||
                 write_index(folder, &list, shape);
    }
    for (uint32_t shard = 1; shard <= list.n_shards && !failed; shard++)
        failed = write_shard(folder, &list, shard, room);
    free(room);
    free(list.tensors);
    return failed;
}
