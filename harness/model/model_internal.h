/*
 * model_internal.h - what the files of model/ share: the parts of an open checkpoint, the
 * parsers on memory (the fuzzers' entry points too), and the tables that say what an
 * architecture is made of.
 */
#ifndef UCB_MODEL_INTERNAL_H
#define UCB_MODEL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/err.h"
#include "core/file.h"
#include "core/pool.h"
#include "model/checkpoint.h"
#include "model/model.h"
#include "model/widen.h"

/* ---- checkpoint ---- */

/* A metadata entry of a GGUF, pointing into the mapped file. */
struct ucb_gguf_value {
    const char *key; /* not terminated */
    size_t key_chars;
    uint32_t type, element_type; /* element_type: of an array */
    const uint8_t *data;     /* a number's or string's bytes, an array's first element */
    uint64_t n;              /* bytes of a string, elements of an array, 1 for a number */
    const uint8_t **strings; /* array of strings: where the length word of each stands */
};

struct ucb_checkpoint_file {
    const char *path;
    struct ucb_file map;
    size_t guard; /* of ucb_guard_add */
};

struct ucb_checkpoint {
    struct ucb_arena arena; /* everything below but the mapped bytes */
    struct ucb_checkpoint_file *files;
    size_t n_files;
    struct ucb_tensor *tensors;
    size_t n_tensors, tensor_capacity;
    const struct ucb_tensor **by_name; /* sorted; made once all tensors are known */
    bool is_gguf;
    struct ucb_gguf_value *values; /* sorted by key */
    size_t n_values;
    uint32_t gguf_version, gguf_alignment;
    const uint8_t
        *gguf_metadata; /* the keys and values as they stand in the file, first to last */
    size_t gguf_metadata_bytes;
    uint64_t vocabulary_bytes; /* of the metadata's tokenizer.* entries */
};

/*
 * Parse one file's bytes into an empty or (safetensors: further shards) filled checkpoint;
 * the bytes must outlive it. `path` is copied by the caller: messages and tensors point to
 * it. CORRUPT, UNSUPPORTED, NOMEM.
 */
ucb_status ucb_safetensors_parse(struct ucb_checkpoint *c, const char *path,
                                 const uint8_t *data, size_t n_bytes, struct ucb_err *err);
ucb_status ucb_gguf_parse(struct ucb_checkpoint *c, const char *path, const uint8_t *data,
                          size_t n_bytes, struct ucb_err *err);
/* True when the bytes begin as a GGUF does. */
bool ucb_gguf_is(const uint8_t *data, size_t n_bytes);

/* Room for one more tensor, zeroed, or NULL without memory. Earlier ones may move. */
struct ucb_tensor *ucb_checkpoint_new_tensor(struct ucb_checkpoint *c);
/* Sets n_elements and n_bytes from shape and dtype; false when a product overflows or a row
 * is not whole blocks. */
bool ucb_tensor_measure(struct ucb_tensor *tensor);
/* Sorts the names for ucb_checkpoint_find. CORRUPT names a tensor that is there twice. */
ucb_status ucb_checkpoint_index(struct ucb_checkpoint *c, struct ucb_err *err);

/* "[16, 16]", for messages; `out` has room for UCB_SHAPE_TEXT characters. */
enum { UCB_SHAPE_TEXT = 192 };
const char *ucb_shape_text(const uint64_t *shape, uint32_t n_dims,
                           char out[UCB_SHAPE_TEXT]);
/* Non-zero text in valid UTF-8 without control characters: what may stand in a message. */
bool ucb_name_is_clean(const char *name, size_t n_chars);

/* IO when a file has become shorter since it was opened: what was read may be zeros. */
ucb_status ucb_checkpoint_intact(const struct ucb_checkpoint *c, struct ucb_err *err);

/* ---- architectures ---- */

/* What files of an architecture mean and leave out. */
struct ucb_family {
    const char *model_type, *gguf_arch;
    double eps_default,
        theta_default; /* where config.json has no rms_norm_eps, no rope_theta */
    bool tied_default;
    bool kv_heads_required; /* false: as many as query heads where config.json says nothing
                             */
    bool gguf_interleaves;  /* a GGUF's q and k rows stand in the order of adjacent-style
                               rope */
};
/* NULL when unknown. */
const struct ucb_family *ucb_family_find(const char *model_type);
const struct ucb_family *ucb_family_find_gguf(const char *arch, size_t n_chars);
/* "llama, ...", for messages. */
const char *ucb_families_text(char *out, size_t out_size);

/* A dimension by its meaning, so that one table serves every size of model. */
enum ucb_extent {
    UCB_EXTENT_HIDDEN,
    UCB_EXTENT_Q,
    UCB_EXTENT_KV,
    UCB_EXTENT_FFN,
    UCB_EXTENT_VOCABULARY
};
uint32_t ucb_extent_size(const struct ucb_arch *arch, enum ucb_extent extent);

/* Names of the two formats; ".N." stands for the layer. */
struct ucb_matrix_row {
    const char *hf, *gguf;
    enum ucb_extent out, in;
    bool rotates; /* its rows are turned by rope */
};
enum ucb_presence { UCB_ALWAYS, UCB_WITH_ATTENTION_BIAS, UCB_WITH_MLP_BIAS };
struct ucb_vector_row {
    const char *hf, *gguf;
    enum ucb_extent size;
    enum ucb_presence presence;
    bool rotates;
};
extern const struct ucb_matrix_row ucb_matrix_rows[UCB_N_ROLES];
extern const struct ucb_vector_row ucb_vector_rows[UCB_N_VECTORS];

enum { UCB_NAME_TEXT = 128 };
/* Puts the layer's number into a name of the tables. */
const char *ucb_name_of_layer(const char *pattern, uint32_t layer, char out[UCB_NAME_TEXT]);

/* Limits that keep a hostile size from asking for memory or overflowing a product; far
 * above any model. */
enum { UCB_HEAD_DIM_MAX = 1 << 16, UCB_SIZE_MAX = INT32_MAX };

/* How positions scale; L0 of the specification is `original`. */
enum ucb_rope_kind { UCB_ROPE_PLAIN, UCB_ROPE_LINEAR, UCB_ROPE_LLAMA3 };
struct ucb_rope {
    enum ucb_rope_kind kind;
    double theta, factor, low, high, original;
};
/* Frequency i of rotary_dim / 2, scaled. */
double ucb_rope_frequency(const struct ucb_rope *rope, uint32_t rotary_dim, uint32_t i);
/*
 * Sets arch->rope_theta, allocates and fills arch->rope_inv_freq from arch->rotary_dim.
 * NOMEM; CORRUPT for a frequency that is not finite. `file` stands in messages.
 */
ucb_status ucb_rope_table(const char *file, const struct ucb_rope *rope,
                          struct ucb_arena *arena, struct ucb_arch *arch,
                          struct ucb_err *err);

/* A config.json's text; `name` stands in messages. CORRUPT, UNSUPPORTED, NOMEM. */
ucb_status ucb_config_parse(const char *name, const char *text, size_t n_bytes,
                            struct ucb_arena *arena, struct ucb_arch *out,
                            struct ucb_err *err);
/* The same from a GGUF's metadata. */
ucb_status ucb_arch_from_gguf(const struct ucb_checkpoint *c, struct ucb_arena *arena,
                              struct ucb_arch *out, struct ucb_err *err);

/*
 * Checks that hold for sizes from either source: heads divide, the rotary size is even,
 * products fit. `names` are the source's own words for the fields.
 */
struct ucb_size_names {
    const char *file, *heads, *kv_heads, *head_dim, *rotary;
};
ucb_status ucb_arch_check(const struct ucb_arch *arch, const struct ucb_size_names *names,
                          struct ucb_err *err);

/* ---- model ---- */

struct ucb_bound_matrix {
    struct ucb_matrix
        matrix; /* first: a `const struct ucb_matrix *` handed out is cast back */
    const struct ucb_tensor *tensor;
    bool interleaved; /* file row 2i of a head is row i, file row 2i + 1 is row i + d/2 */
};
struct ucb_bound_vector {
    const struct ucb_tensor *tensor; /* NULL: the model has none */
    const char *name;
    bool interleaved;
};
struct ucb_bound_layer {
    struct ucb_bound_matrix matrices[UCB_N_LAYER_ROLES];
    struct ucb_bound_vector vectors[UCB_N_VECTORS];
};

struct ucb_model {
    struct ucb_arena arena;
    const char *path, *config_path; /* config_path: NULL for a GGUF */
    uint64_t config_bytes;
    struct ucb_checkpoint *checkpoint;
    struct ucb_arch arch;
    struct ucb_bound_layer *layers;
    struct ucb_bound_matrix embed, head; /* head.tensor is NULL when tied */
    struct ucb_bound_vector final_norm;
    uint64_t n_parameters;
    const char *warning; /* NULL, or a sentence for the user */
    char digest[65];     /* empty until asked for */
};

/* Finds every tensor, checks shapes and dtypes. MISSING, CORRUPT, UNSUPPORTED, NOMEM. */
ucb_status ucb_model_bind(struct ucb_model *model, struct ucb_err *err);
/* Looks at every weight. CORRUPT names the first that is not finite. */
ucb_status ucb_model_scan(const struct ucb_model *model, struct ucb_pool *pool,
                          struct ucb_err *err);
/* The row of the file that holds row `row` of the model. */
static inline uint32_t ucb_file_row(uint32_t row, uint32_t head_dim)
{
    uint32_t head = row / head_dim * head_dim, i = row % head_dim, half = head_dim / 2;
    return head + (i < half ? 2 * i : 2 * (i - half) + 1);
}
/* Its inverse. */
static inline uint32_t ucb_model_row(uint32_t file_row, uint32_t head_dim)
{
    uint32_t head = file_row / head_dim * head_dim, i = file_row % head_dim;
    return head + i / 2 + (i % 2 != 0 ? head_dim / 2 : 0);
}

#endif
