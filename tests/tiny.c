/* tiny.c - see tiny.h. */
#include "tiny.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "core/file.h"
#include "core/half.h"
#include "core/pcg.h"
#include "model/checkpoint.h"
#include "test.h"

enum {
    LAYERS = 2,
    HIDDEN = 64,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 16,
    FFN = 128,
    VOCABULARY = 258,
    MAX_TENSORS = 32
};

struct writer {
    struct ucb_tensor tensors[MAX_TENSORS];
    size_t n;
};

/* Uniform weights of standard deviation `sd`, or ones where sd is 0 (norms). */
static void add_tensor(struct writer *w, const char *name, uint64_t rows, uint64_t columns,
                       float sd)
{
    uint64_t n = columns == 0 ? rows : rows * columns;
    uint16_t *data = malloc(n * sizeof(*data));
    struct ucb_pcg random;
    CHECK(data != NULL && w->n < MAX_TENSORS);
    ucb_pcg_named(&random, 7, name);
    for (uint64_t i = 0; i < n; i++)
        data[i] = ucb_bf16_from_f32(
            sd == 0 ? 1.0f : (ucb_pcg_unit(&random) - 0.5f) * 3.4641016f * sd);
    w->tensors[w->n++] = (struct ucb_tensor){.name = strdup(name),
                                             .dtype = UCB_BF16,
                                             .n_dims = columns == 0 ? 1 : 2,
                                             .shape = {rows, columns},
                                             .n_elements = n,
                                             .data = (uint8_t *)data,
                                             .n_bytes = n * 2};
}

static void add_layer(struct writer *w, int layer, float scale)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } parts[] = {
        {"input_layernorm", HIDDEN, 0},
        {"self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN},
        {"self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN},
        {"self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN},
        {"self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM},
        {"post_attention_layernorm", HIDDEN, 0},
        {"mlp.gate_proj", FFN, HIDDEN},
        {"mlp.up_proj", FFN, HIDDEN},
        {"mlp.down_proj", HIDDEN, FFN},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        add_tensor(w, ucb_test_path("model.layers.%d.%s.weight", layer, parts[i].name),
                   parts[i].rows, parts[i].columns,
                   parts[i].columns == 0 ? 0.0f : 0.15f * scale);
}

/* The printable stand-in of a byte in GPT-2's alphabet. */
static uint32_t byte_symbol(unsigned byte)
{
    unsigned others = 0;
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte && printable) return b;
        others += !printable;
    }
    return 255 + others;
}

static void write_tokenizer(const char *folder)
{
    json_t *vocabulary = json_object();
    for (unsigned b = 0; b < 256; b++) {
        uint32_t u = byte_symbol(b);
        char symbol[3] = {(char)(u < 0x80 ? u : 0xc0 | u >> 6),
                          (char)(u < 0x80 ? 0 : 0x80 | (u & 63)), 0};
        json_object_set_new(vocabulary, symbol, json_integer(b));
    }
    json_t *root = json_pack(
        "{s:s, s:[{s:i,s:s,s:b,s:b,s:b,s:b,s:b}], s:n, s:{s:s,s:b,s:b,s:b}, s:n, s:{s:s}, s:{s:s,s:o,s:[]}}",
        "version", "1.0", "added_tokens", "id", 256, "content", "<s>", "single_word", 0,
        "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1, "normalizer",
        "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
        "use_regex", 1, "post_processor", "decoder", "type", "ByteLevel", "model", "type",
        "BPE", "vocab", vocabulary, "merges");
    CHECK(root != NULL &&
          json_dump_file(root, ucb_test_path("%s/tokenizer.json", folder), 0) == 0);
    json_decref(root);
}

void ucb_tiny_model(const char *folder)
{
    ucb_tiny_model_scaled(folder, 1.0f);
}

void ucb_tiny_model_scaled(const char *folder, float scale)
{
    static const char config[] =
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128, \"num_hidden_layers\": 2,\n"
        " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 16, \"vocab_size\": 258, \"hidden_act\": \"silu\",\n"
        " \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"max_position_embeddings\": 4096, \"tie_word_embeddings\": true,\n"
        " \"bos_token_id\": 256, \"torch_dtype\": \"bfloat16\"}\n";
    struct writer w = {.n = 0};
    struct ucb_err err;
    CHECK_OK(ucb_folder_make(folder, &err), err);
    CHECK_OK(ucb_file_write(ucb_test_path("%s/config.json", folder), config, strlen(config),
                            &err),
             err);
    write_tokenizer(folder);
    add_tensor(&w, "model.embed_tokens.weight", VOCABULARY, HIDDEN, 0.3f);
    for (int layer = 0; layer < LAYERS; layer++) add_layer(&w, layer, scale);
    add_tensor(&w, "model.norm.weight", HIDDEN, 0, 0.0f);
    CHECK_OK(ucb_safetensors_write(ucb_test_path("%s/model.safetensors", folder), w.tensors,
                                   w.n, &err),
             err);
    for (size_t i = 0; i < w.n; i++) {
        free((void *)(uintptr_t)w.tensors[i].name);
        free((void *)(uintptr_t)w.tensors[i].data);
    }
}

int ucb_run_program(char *out, unsigned long size, const char *arguments, ...)
{
    char command[8192], tail[7000];
    va_list args;
    va_start(args, arguments);
    vsnprintf(tail, sizeof(tail), arguments, args);
    va_end(args);
    snprintf(command, sizeof(command), "%s %s 2>&1", ucb_test_program(), tail);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    size_t n = fread(out, 1, size - 1, pipe);
    out[n] = '\0';
    for (char rest[4096]; fread(rest, 1, sizeof(rest), pipe) > 0;) continue;
    int state = pclose(pipe);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

void ucb_sweep_digest(const char *model, const char *name, const char *options,
                      char hex[65])
{
    static char out[1 << 16];
    const char *db = ucb_test_path("%s/%s.db", ucb_test_folder(), name);
    RUN(0, "sweep --quiet --data mini --model %s %s --db %s", model, options, db);
    RUN(0, "digest --db %s", db);
    snprintf(hex, 65, "%.64s", out);
}

void ucb_write_ids(const char *path, const int32_t *ids, uint32_t n)
{
    struct ucb_err err;
    struct ucb_tensor t = {.name = "input_ids.0",
                           .dtype = UCB_I32,
                           .n_dims = 1,
                           .shape = {n},
                           .n_elements = n,
                           .data = (const uint8_t *)ids,
                           .n_bytes = n * sizeof(*ids)};
    CHECK_OK(ucb_safetensors_write(path, &t, 1, &err), err);
}

const char *ucb_test_content(const char *name)
{
    static char text[1 << 19];
    struct ucb_file file;
    struct ucb_err err;
    CHECK_OK(ucb_file_map(ucb_test_path("%s/%s", ucb_test_folder(), name), &file, &err),
             err);
    CHECK(file.n_bytes < sizeof(text)); /* an empty one has no data to copy */
    if (file.n_bytes > 0) memcpy(text, file.data, file.n_bytes);
    text[file.n_bytes] = '\0';
    ucb_file_unmap(&file);
    return text;
}
