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

/* A dimension by its meaning, so that one table serves every size of model. */
enum ucb_extent {
    UCB_EXTENT_ONE,
    UCB_EXTENT_HIDDEN,
    UCB_EXTENT_VOCABULARY,
    UCB_EXTENT_POSITIONS,
    UCB_EXTENT_HEAD_DIM,
    UCB_EXTENT_Q,
    UCB_EXTENT_KV,
    UCB_EXTENT_FFN,
    UCB_EXTENT_N_EXPERTS,
    UCB_EXTENT_EXPERT_FFN,
    UCB_EXTENT_SHARED_FFN,
    UCB_EXTENT_Q_RANK, /* latent attention */
    UCB_EXTENT_LATENT_Q,
    UCB_EXTENT_KV_A,
    UCB_EXTENT_KV_RANK,
    UCB_EXTENT_KV_B,
    UCB_EXTENT_VALUES,
    UCB_EXTENT_SSM_IN, /* state space */
    UCB_EXTENT_SSM_WIDTH,
    UCB_EXTENT_SSM_X,
    UCB_EXTENT_SSM_RANK,
    UCB_EXTENT_SSM_STATE,
    UCB_EXTENT_SSM_KERNEL
};
uint32_t ucb_extent_size(const struct ucb_arch *arch, enum ucb_extent extent);

/* When a layer (or the model) has a tensor. In a GGUF the presence of the tensor decides on
 * a bias. */
enum ucb_presence {
    UCB_ALWAYS,
    UCB_WITH_QKV_BIAS,
    UCB_WITH_O_BIAS,
    UCB_WITH_MLP_BIAS,
    UCB_WITH_HEAD_BIAS,
    UCB_WITH_SSM_BIAS,
    UCB_WITH_CONV_BIAS,
    UCB_WITH_DENSE_MLP, /* in layers without experts */
    UCB_WITH_EXPERTS,   /* in layers with them */
    UCB_WITH_SHARED_EXPERTS,
    UCB_WITH_Q_RANK,
    UCB_WITH_Q_RANK_BIAS, /* where both are */
    UCB_WITHOUT_Q_RANK
};
/* How a matrix (or its bias) lies in its tensor. */
enum ucb_storage {
    UCB_STORED_PLAIN,
    UCB_STORED_STACKED, /* the parts one under the other: all q rows, then k, then v */
    UCB_STORED_HEADS,   /* head by head its q, k and v rows */
    UCB_STORED_COLUMNS  /* stored [in, out]; the parts beside each other */
};
/* What shares a tensor. */
enum ucb_fusion { UCB_FUSION_NONE, UCB_FUSION_QKV, UCB_FUSION_GATE_UP };

/* Names of the two formats: ".N." stands for the layer, ".E." for the expert. */
struct ucb_matrix_row {
    enum ucb_role role;
    const char *hf, *gguf; /* gguf NULL: no such files are read */
    enum ucb_extent out, in;
    enum ucb_presence presence;
    enum ucb_storage layout;
    enum ucb_fusion fusion;
    bool rotates; /* its rows are turned by rope */
    bool expert;  /* one for each expert; a GGUF stacks them in one tensor [n, out, in] */
    const char *hf_older; /* NULL, or another name that older files use */
};
struct ucb_vector_row {
    enum ucb_vector which;
    const char *hf, *gguf;
    enum ucb_extent shape[3];
    uint32_t n_dims;
    enum ucb_presence presence;
    enum ucb_storage layout; /* of a bias: as its matrix */
    enum ucb_fusion fusion;
    bool rotates;
};

enum { UCB_MAX_TABLES = 8 };
/* What files of an architecture mean and leave out. */
struct ucb_family {
    /* gguf_arch NULL: no GGUF of it is read or written. Of several families with one name
     * a file is the first, with experts Mixtral. */
    const char *model_type, *gguf_arch;
    bool gguf_plain_weights; /* a GGUF's experts are weighed by p; otherwise p divided by
                                the sum of the chosen: no file says which */
    double eps_default, theta_default; /* where config.json has no epsilon, no rope_theta */
    bool tied_default;
    bool kv_heads_required; /* false: as many as query heads where config.json says nothing
                             */
    bool gguf_interleaves;  /* a GGUF's q and k rows stand in the order of adjacent-style
                               rope */
    const char *hf_prefix;  /* NULL, or what some files put before every name */
    /* Ended by NULL; every table ends with a row whose hf is NULL. */
    const struct ucb_matrix_row *matrices[UCB_MAX_TABLES];
    const struct ucb_vector_row *vectors[UCB_MAX_TABLES];
};
/* All families, ended by a NULL model_type. */
extern const struct ucb_family ucb_families[];
/* NULL when unknown. */
const struct ucb_family *ucb_family_find(const char *model_type);
const struct ucb_family *ucb_family_find_gguf(const char *arch, size_t n_chars);
/* "llama, ...", for messages: model types of config.json, or architectures of GGUFs. */
const char *ucb_families_text(bool of_gguf, char *out, size_t out_size);
enum { UCB_FAMILIES_TEXT = 512 };
/* The row of a role or a vector in a family's tables, or NULL. */
const struct ucb_matrix_row *ucb_matrix_row_of(const struct ucb_family *family,
                                               enum ucb_role role);
const struct ucb_vector_row *ucb_vector_row_of(const struct ucb_family *family,
                                               enum ucb_vector which);

enum { UCB_NAME_TEXT = 128 };
/* Puts the layer's and the expert's numbers into a name of the tables. */
const char *ucb_name_of(const char *pattern, uint32_t layer, uint32_t expert,
                        char out[UCB_NAME_TEXT]);

/* Limits that keep a hostile size from asking for memory or overflowing a product; far
 * above any model. */
enum {
    UCB_HEAD_DIM_MAX = 1 << 16,
    UCB_LAYERS_MAX = 1 << 16,
    UCB_EXPERTS_MAX = 1024,
    UCB_SIZE_MAX = INT32_MAX
};

/* How positions scale; L0 of the specification is `original`. */
enum ucb_rope_kind {
    UCB_ROPE_PLAIN,
    UCB_ROPE_LINEAR,
    UCB_ROPE_LLAMA3,
    UCB_ROPE_YARN,
    UCB_ROPE_LONG
};
struct ucb_rope {
    enum ucb_rope_kind kind;
    double theta, factor, original;
    double low, high;            /* llama3 */
    double beta_fast, beta_slow; /* yarn */
    bool truncate;
    double magnitude, long_magnitude;         /* 0: 1 */
    const double *short_factor, *long_factor; /* longrope: [rotary_dim / 2] each */
};
/* Frequency i of rotary_dim / 2, scaled; `is_long`: of a window past `original`. */
double ucb_rope_frequency(const struct ucb_rope *rope, uint32_t rotary_dim, uint32_t i,
                          bool is_long);
/* g(s, k) of the specification: what YaRN multiplies attention by. */
double ucb_yarn_magnitude(double factor, double k);
/*
 * Fills `out` with frequencies from `arena`. NOMEM; CORRUPT for a frequency that is not
 * finite. `file` stands in messages.
 */
ucb_status ucb_rope_fill(const char *file, const struct ucb_rope *rope, uint32_t rotary_dim,
                         struct ucb_arena *arena, struct ucb_rope_set *out,
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

/* Where rows lie in a tensor: row r of the model is row base + r / block * stride +
 * r % block of the file (after the order of rope has been undone), or that column of a
 * transposed one. */
struct ucb_view {
    const struct ucb_tensor *tensor; /* NULL: the model has none */
    uint32_t base, block, stride;
    uint32_t columns; /* elements of a file row */
    bool transposed;
    bool interleaved; /* file row 2i of a head is row i, file row 2i + 1 is row i + d/2 */
};
struct ucb_bound_matrix {
    struct ucb_matrix
        matrix; /* first: a `const struct ucb_matrix *` handed out is cast back */
    struct ucb_view view;
    bool first_of_tensor; /* the others share its tensor */
};
struct ucb_bound_vector {
    struct ucb_view view;
    const char *name;
    uint32_t n; /* elements */
    bool plus_one;
};
struct ucb_bound_layer {
    struct ucb_bound_matrix *matrices; /* in the order of ucb_model_layer_matrices */
    const struct ucb_matrix **list;    /* the same, as pointers */
    size_t n_matrices;
    uint32_t first[UCB_N_LAYER_ROLES]; /* slots, UINT32_MAX: none */
    struct ucb_bound_vector vectors[UCB_N_VECTORS];
};

struct ucb_model {
    struct ucb_arena arena;
    const char *path, *config_path; /* config_path: NULL for a GGUF */
    uint64_t config_bytes;
    struct ucb_checkpoint *checkpoint;
    const struct ucb_family *family;
    struct ucb_arch arch;
    struct ucb_bound_layer *layers;
    struct ucb_bound_layer top;          /* vectors of the model; no matrices */
    struct ucb_bound_matrix embed, head; /* head.view.tensor is NULL when tied */
    uint64_t n_parameters;
    const char *warning; /* NULL, or a sentence for the user */
    char digest[65];     /* empty until asked for */
};

/* The base of Gemma 3's windowed layers where a GGUF names none. */
#define UCB_GGUF_LOCAL_THETA 1e4

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
