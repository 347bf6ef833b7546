/*
 * method.h - the contract of a compression method: functions that share nothing but bytes.
 *
 * encode() turns matrices into bytes, each byte tagged with its purpose; open() and
 * decode() turn bytes into matrices in a job that met no encoder. A method is one file
 * methods/<name>.c, ending in `const struct ucb_method ucb_method_<name>`; it allocates
 * only through its job, and calls no clock, printer or random source but job->random.
 * Methods chain: "a+b" (see chain.h).
 */
#ifndef UCB_METHOD_METHOD_H
#define UCB_METHOD_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/bytes.h"
#include "core/dtype.h"
#include "core/err.h"
#include "core/pcg.h"
#include "core/pool.h"
#include "model/model.h" /* struct ucb_matrix: always the [n_out][n_in] view of y = W x */

/* What a stage of a chain may do. */
enum ucb_kind {
    UCB_BASE,   /* matrix to bytes */
    UCB_ADD,    /* sees W minus the decode so far */
    UCB_EXACT,  /* sees the source's bits and the prediction, restores the bits */
    UCB_RECODE, /* shrinks the bytes of the stage before it */
    UCB_TUNE,   /* one layer at a time: changes continuous parameters of earlier stages and
                   the layer's norm gains */
    UCB_REPLACE /* a whole model from a whole model; stands alone */
};
/* Calibration statistics of a matrix's input that a method asks for. */
enum ucb_needs {
    UCB_NEEDS_NONE = 0,
    UCB_NEEDS_DIAG = 1,
    UCB_NEEDS_ABS = 2,
    UCB_NEEDS_H = 4,
    UCB_NEEDS_SAMPLE = 8
};

/* Of the matrix's input; members not asked for are NULL. Doubles,
 * summed in a fixed order. */
struct ucb_calib {
    uint64_t n_tokens;    /* 0: an expert that no token was sent to; the means are zeros */
    uint64_t n_sequences; /* windows the tokens came from */
    const double *sq_mean, *abs_mean, *abs_max; /* [n_in] */
    const double *second_moment; /* E[x x^T], [n_in][n_in], symmetric to the bit */
    const float *sample; /* [n_sample][n_in], tokens spaced evenly over all of them */
    uint32_t n_sample;
};

/* What an encoder may look at; read only. */
struct ucb_source {
    const struct ucb_matrix *matrix;
    const float *w;                /* [n_out][n_in], widened exactly */
    bool finite;                   /* the caller knows that every weight is, because the
                                      reader of models has looked; false: they are looked at */
    const void *bits;              /* as stored, for EXACT stages; NULL otherwise */
    const float *before;           /* decode of the stages before, NULL for the first */
    const struct ucb_calib *calib; /* NULL when the method needs none, and always for an
                                      embedding or a head, whose inputs nobody collects */
};

/* A value that a spec may set: "group=64". */
struct ucb_knob {
    const char *name, *help;
    const char *fallback; /* default, as text */
    enum { UCB_KNOB_INT, UCB_KNOB_REAL, UCB_KNOB_CHOICE } type;
    double low, high;           /* of a number */
    const char *const *choices; /* of a choice, NULL-terminated */
};
enum { UCB_MAX_KNOBS = 12 };

/* For `ucbench quantize`: takes a named array (golden role name); the data need not outlive
 * the call. */
typedef ucb_status ucb_inspect_emit(void *context, const char *role, enum ucb_dtype dtype,
                                    uint32_t n_dims, const uint64_t *shape,
                                    const void *data, struct ucb_err *err);

/*
 * All matrices that a chain takes, in the model's order, one at a time: what fit_shared()
 * looks at. The source's arrays live until the next call of next().
 */
struct ucb_stream {
    uint32_t n_matrices;
    uint64_t n_weights;
    /* *out is NULL after the last one. */
    ucb_status (*next)(void *context, const struct ucb_source **out, struct ucb_err *err);
    void (*rewind)(void *context); /* to the first one again, for another pass */
    void *context;
};

/* A continuous parameter that a TUNE stage may move; fp32 while it is moved. */
struct ucb_param {
    const char *name; /* "scales", "factor U" ...; unique in its stage */
    float *value;     /* [n] */
    size_t n;
};
enum { UCB_MAX_PARAMS = 4 };

/* What a TUNE stage minimises, and what it may move, under its knobs. */
struct ucb_tune_plan {
    enum ucb_objective {
        UCB_OBJECTIVE_MSE, /* mean squared error of the layer's output */
        UCB_OBJECTIVE_KL   /* of the logits that the model's head makes of it */
    } objective;
    uint32_t batch;   /* windows of one evaluation, at most */
    bool base, gains; /* parameters of the base stage, norm gains; those of the stages
                         added to it are always moved */
    bool online;      /* inputs come from the layers already tuned, not from the original */
};
/*
 * One layer on the bench of a TUNE stage: the parameters of all its matrices, and a loss.
 * Parameters of the base stage and norm gains come as factors of what they are, 1 at the
 * start, so that one learning rate suits all.
 */
struct ucb_tuning {
    uint32_t n_params;
    struct ucb_param *params; /* moved in place */
    float *const *gradients;  /* [n_params][n], written by evaluate() */
    uint32_t n_windows;       /* of the calibration text */
    /* The loss at the parameters' values, the mean over windows given by index (repeats
     * count twice), and its gradients. */
    ucb_status (*evaluate)(void *context, const uint32_t *windows, uint32_t n, double *loss,
                           struct ucb_err *err);
    void *context;
};

/* What a payload looks like to a reader of GGUF files. */
struct ucb_layout {
    enum ucb_dtype dtype; /* the payload is this type's rows, byte for byte */
    uint32_t file_type;   /* what a file made of such payloads has as general.file_type */
};

/* One call's surroundings. Two calls of one method on one matrix get equal jobs, whatever
 * ran before. */
struct ucb_job {
    const struct ucb_method *method;
    double value[UCB_MAX_KNOBS]; /* by index in method->knobs; of a choice: its index */
    struct ucb_arena *arena;     /* lives as long as the cell */
    struct ucb_arena *scratch;   /* emptied after each call */
    struct ucb_pool *pool;       /* may be NULL; results never depend on it */
    /* What this stage's fit_shared() wrote, for encode() and open(); 0 bytes where the
     * method has no side data. Outlives every state. */
    const uint8_t *shared;
    size_t n_shared;
    struct ucb_pcg random; /* encode: seeded from (run seed, model, matrix, method, stage);
                              elsewhere all zero */
    /* NULL, or takes what encode() computed and no byte holds (HQQ's fp32 zeros); never
     * changes the bytes. */
    ucb_inspect_emit *trace;
    void *trace_context;
};

struct ucb_method {
    const char *name, *summary, *source; /* source: the paper or project that defines it */
    uint32_t revision; /* raise when bytes, decoded values or products change */
    enum ucb_kind kind;
    /* EXACT only: restores from the decode of the stages before it, so it stands last; one
     * that needs none stands alone. */
    bool needs_before;
    /* Its original takes statistics from layers already compressed (GPTQ); otherwise from
     * the original model (AWQ, importance matrices). */
    bool sequential;
    const struct ucb_knob *knobs; /* ended by a NULL name; NULL: none */
    uint32_t
        n_shown; /* the first so many knobs stand in every printed spec, at defaults too */
    /* Two knobs that mean the same in two ways: a spec sets one of them, and shows the
     * second only while the first has its default. NULL: none. */
    struct {
        const char *knob, *of;
    } instead;
    /* USAGE when the values of the knobs cannot go together (bits=3,axis=0 ...). NULL:
     * always fine. */
    ucb_status (*check)(const struct ucb_job *job, struct ucb_err *err);
    /* UCB_NEEDS_* under these knobs. NULL: none. */
    uint32_t (*needs)(const struct ucb_job *job);
    /* For a method that may choose its own matrices (llama.cpp's recipes): whether it takes
     * this one, as what it is used for; --scope says `in_scope`. NULL: as --scope says. */
    bool (*takes)(const struct ucb_job *job, enum ucb_role role, bool in_scope);
    /* Whether these knobs can take a matrix of this shape: looked at before a sweep begins
     * and before encode(). USAGE names matrix, found, needed, and what to try. NULL: every
     * shape. */
    ucb_status (*fits)(const struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_err *err);
    /* The dtype that the method's deployed weights have, for a source dtype. */
    enum ucb_dtype (*decoded_dtype)(const struct ucb_job *job, enum ucb_dtype source);
    /* Bits per weight as the method's paper counts them. */
    double (*nominal_bpw)(const struct ucb_job *job, const struct ucb_matrix *matrix);
    /* As the seed's tables count them, 0 for a stage that they leave out. NULL: the seed has
     * no such method. */
    double (*claimed_bpw)(const struct ucb_job *job, const struct ucb_matrix *matrix);
    /* Bytes of the state that open() fills. */
    size_t (*state_bytes)(const struct ucb_job *job, const struct ucb_matrix *matrix);
    /* n_src matrices of one group to n_src payloads. Any thread count, the same bytes.
     * USAGE names matrix, found, needed. */
    ucb_status (*encode)(struct ucb_job *job, const struct ucb_source *src, uint32_t n_src,
                         struct ucb_writer *const *out, struct ucb_err *err);
    /*
     * Side data that all matrices share (a bank of codebooks for each role): fitted before
     * the first encode() from the stream, as many passes as it takes; counted once. Any
     * thread count, the same bytes. NULL: none.
     */
    ucb_status (*fit_shared)(struct ucb_job *job, struct ucb_stream *stream,
                             struct ucb_writer *out, struct ucb_err *err);
    /*
     * Parses one payload into `state`, checking every length; no encoder state exists. The
     * payload outlives the state. CORRUPT on any truncation, trailing byte or impossible
     * value.
     */
    ucb_status (*open)(struct ucb_job *job, const struct ucb_matrix *matrix,
                       struct ucb_reader *in, void *state, struct ucb_err *err);
    /* BASE writes, ADD adds to, rows [row, row + n) of acc (n_in floats a row). Pure, any
     * thread. */
    void (*decode)(const void *state, uint32_t row, uint32_t n, float *acc);
    /*
     * EXACT only: the source's own bits of rows [row, row + n), in the source's dtype.
     * `before` is the decode of the stages before (n_in floats a row), NULL for the first
     * stage. No bit passes through a float. CORRUPT where the stream does not fit. Uses the
     * pool of the job it was opened with, so no loop may be running.
     */
    ucb_status (*decode_bits)(const void *state, uint32_t row, uint32_t n,
                              const float *before, void *bits, struct ucb_err *err);
    /*
     * EXACT only, both or neither: decode_bits() for a part of the matrix, in this thread.
     * span() is how many bytes of bits come out together; decode_span() writes bytes
     * [first, first + n_bytes) of the matrix's bits, where `first` is a multiple of that
     * and n_bytes is too, unless it reaches the end. `before` begins at the same weight.
     */
    size_t (*span)(const void *state);
    ucb_status (*decode_span)(const void *state, size_t first, size_t n_bytes,
                              const float *before, void *bits, struct ucb_err *err);
    /*
     * What a TUNE stage may move; all four or none. unfreeze() lists the continuous
     * parameters of an opened state with their values, in memory from job->arena;
     * decode_with() is decode() with those values in the place of the stored ones;
     * pull_back() makes d_param[k][list[k].n] of d_weight[n_out][n_in] = dL/dW (job->pool
     * may help, sums run in a fixed order); freeze() writes the payload that holds the
     * values, rounded as they are stored.
     */
    ucb_status (*unfreeze)(struct ucb_job *job, const void *state,
                           struct ucb_param list[UCB_MAX_PARAMS], uint32_t *n,
                           struct ucb_err *err);
    void (*decode_with)(const void *state, const struct ucb_param *list, uint32_t row,
                        uint32_t n, float *acc);
    ucb_status (*pull_back)(struct ucb_job *job, const void *state,
                            const struct ucb_param *list, const float *d_weight,
                            float *const *d_param, struct ucb_err *err);
    ucb_status (*freeze)(struct ucb_job *job, const void *state,
                         const struct ucb_param *list, struct ucb_writer *out,
                         struct ucb_err *err);
    /* TUNE only: what it wants, and its work on one layer; a step at which the loss is not
     * finite is CORRUPT. Draws from job->random only. */
    void (*tune_plan)(const struct ucb_job *job, struct ucb_tune_plan *out);
    ucb_status (*tune)(struct ucb_job *job, struct ucb_tuning *tuning, struct ucb_err *err);
    /*
     * Where the peer's deployed arithmetic rounds more than once (HQQ subtracts and
     * multiplies in half precision): writes those values, exact in decoded_dtype. Used when
     * the method is alone in its chain. NULL: decode(), rounded once.
     */
    void (*decode_deployed)(const void *state, uint32_t row, uint32_t n, float *acc);
    /*
     * What a decoder on a device (cuda/) needs beside the payload's bytes and the knobs:
     * what open() checked or worked out, in the layout that the method's *_plan.h gives, so
     * that nothing is parsed there. `bytes` is where the payload begins: places in it are
     * offsets. NULL: bytes and knobs say all. CORRUPT, NOMEM.
     */
    ucb_status (*device_plan)(struct ucb_job *job, const void *state, const uint8_t *bytes,
                              struct ucb_writer *out, struct ucb_err *err);
    /* Lists the arrays of an opened payload; arrays made for the purpose come from
     * job->scratch. */
    ucb_status (*inspect)(struct ucb_job *job, const void *state, ucb_inspect_emit *emit,
                          void *context, struct ucb_err *err);
    /* The GGUF type that payloads are written in. NULL: they are the method's own. */
    void (*layout)(const struct ucb_job *job, const struct ucb_matrix *matrix,
                   struct ucb_layout *out);
    /* Matrices that one encode call takes together have the same key (q k v share AWQ's
     * scales); only matrices of one layer that read the same input are ever offered
     * together. NULL: each alone. */
    uint32_t (*group)(const struct ucb_job *job, const struct ucb_matrix *matrix);
    /* Whether the method's peer multiplies in an arithmetic of its own under these knobs
     * (LLM.int8 quantizes activations). NULL: never; the decoded weights are multiplied. */
    bool (*has_product)(const struct ucb_job *job);
    /*
     * That product: y[n_rows][n_out] of x[n_rows][n_in] and bias[n_out] (may be NULL), the
     * rows of ONE window. Uses job->scratch and job->pool; never depends on the pool.
     * `trace` (may be NULL) takes its intermediates. NOMEM, UNSUPPORTED.
     */
    ucb_status (*product)(struct ucb_job *job, const void *state, const float *bias,
                          const float *x, size_t n_rows, float *y, ucb_inspect_emit *trace,
                          void *trace_context, struct ucb_err *err);
};

/* All methods, ended by NULL, in name order. */
const struct ucb_method *const *ucb_methods(void);
const struct ucb_method *ucb_method_find(const char *name); /* or NULL */
/* The value of a knob by name; the knob must exist. */
double ucb_job_value(const struct ucb_job *job, const char *knob);

#endif
