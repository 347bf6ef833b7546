/*
 * cuda.h - the GPU behind backend.h: the plugin, an opened device, and every operation, on
 * memory that stays there and on host buffers that are copied.
 *
 * The plugin is looked for once a process: $UCBENCH_CUDA_PLUGIN names the file, else it is
 * libucbench_cuda.so beside the program, else where the system's loader looks.
 */
#ifndef UCB_BACKEND_CUDA_H
#define UCB_BACKEND_CUDA_H

#include "backend/backend.h"
#include "backend/cuda_abi.h"

/* The plugin's tables, or NULL and *why, a sentence. The methods end with a NULL name. */
const struct ucb_cuda_backend *ucb_cuda_plugin(const struct ucb_cuda_method **methods,
                                               const char **why);
/* Whether there is a plugin and a device; *why: what is missing, or what there is. */
bool ucb_cuda_available(const char **why);

struct ucb_cuda;
/* ENVIRONMENT: no plugin, no device, or (cublas) no library. NOMEM. */
ucb_status ucb_cuda_open(enum ucb_arithmetic arithmetic, struct ucb_cuda **out,
                         struct ucb_err *err);
void ucb_cuda_close(struct ucb_cuda *cuda); /* NULL is fine */
void ucb_cuda_info(const struct ucb_cuda *cuda, struct ucb_cuda_info *out);
/* The plugin's table and its device, for what has no function here. */
const struct ucb_cuda_backend *ucb_cuda_table(const struct ucb_cuda *cuda);
struct ucb_cuda_device *ucb_cuda_device(const struct ucb_cuda *cuda);

/* Device memory for a purpose, at least n_bytes of it; the same piece, grown, at every
 * call. NOMEM says what for and how much. */
enum ucb_cuda_purpose {
    UCB_CUDA_FOR_PAYLOAD, /* of the stream LOAD: a stage's bytes */
    UCB_CUDA_FOR_SHARED,
    UCB_CUDA_FOR_PLAN, /* what the host says about them */
    UCB_CUDA_FOR_SCRATCH,
    UCB_CUDA_FOR_BITS, /* of an exact chain: a matrix as its file holds it */
    UCB_CUDA_FOR_VERDICT,
    UCB_CUDA_FOR_DECODED, /* a matrix of floats */
    UCB_CUDA_FOR_X,       /* of COMPUTE: the buffers of a call that are copied */
    UCB_CUDA_FOR_W,       /* of both: parts of a weight on its way */
    UCB_CUDA_N_PURPOSES
};
ucb_status ucb_cuda_memory(struct ucb_cuda *cuda, enum ucb_cuda_purpose purpose,
                           size_t n_bytes, void **out, struct ucb_err *err);

/* Gives back what is for LOAD alone, and the host memory it copies from; waits. */
void ucb_cuda_drop_decoding(struct ucb_cuda *cuda);

/* Queues on LOAD a copy of host memory, which may change at once: from memory that copies
 * read beside products, as far as such is there. Answers NULL, or what is wrong. */
const char *ucb_cuda_send(struct ucb_cuda *cuda, void *to, const void *host,
                          size_t n_bytes);

/* What decoding shows and open() cannot know. */
struct ucb_cuda_verdict {
    uint32_t damaged, nonfinite; /* some payload is; some weight is */
};
/* The verdict in device memory, which kernels on LOAD may set; it begins as zeros. NOMEM,
 * ENVIRONMENT. */
ucb_status ucb_cuda_verdict(struct ucb_cuda *cuda, struct ucb_cuda_verdict **out,
                            struct ucb_err *err);
/* Waits for LOAD, brings the verdict on all that was queued since the last call, and makes
 * it zeros again. ENVIRONMENT. */
ucb_status ucb_cuda_take_verdict(struct ucb_cuda *cuda, struct ucb_cuda_verdict *out,
                                 struct ucb_err *err);

/*
 * Makes a weight of `decoded` (device memory [n_out][n_in], queued on LOAD), as ucb_pack()
 * does of host memory: queued on LOAD too, so that it is made while products run. The
 * address weight->data names it and is not read. ucb_linear() waits for it; it stays, in
 * host memory where the device's runs out, until it is packed anew or forgotten. NOMEM,
 * ENVIRONMENT.
 */
ucb_status ucb_cuda_put_decoded(struct ucb_cuda *cuda, const struct ucb_packed *weight,
                                const float *decoded, struct ucb_err *err);
void ucb_cuda_forget(struct ucb_cuda *cuda, const struct ucb_packed *weight);
/* The device of a backend; NULL: it is the CPU. */
struct ucb_cuda *ucb_backend_cuda(const struct ucb_backend *backend);

#endif
