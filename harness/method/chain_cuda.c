/*
 * chain_cuda.c - a chain's payload on a GPU: stage after stage into one matrix, rounded
 * once to the deployed dtype (see opened.c, which does the same on the CPU).
 */
#include "method/chain_cuda.h"

#include <string.h>

#include "method/chain_internal.h"

static const struct ucb_cuda_method *find_decoder(const struct ucb_cuda_method *list,
                                                  const struct ucb_method *method)
{
    for (; list != NULL && list->name != NULL; list++)
        if (strcmp(list->name, method->name) == 0 && list->revision == method->revision)
            return list;
    return NULL;
}

bool ucb_chain_decodes_on_cuda(const struct ucb_chain *chain, const char **missing)
{
    const struct ucb_cuda_method *list;
    const char *why;
    ucb_cuda_plugin(&list, &why);
    for (uint32_t i = 0; i < chain->n_coded; i++) {
        *missing = chain->stages[i].method->name;
        if (chain->stages[i].method->kind > UCB_ADD ||
            find_decoder(list, chain->stages[i].method) == NULL)
            return false;
    }
    return true;
}

static uint32_t name_knobs(const struct ucb_stage *stage,
                           struct ucb_cuda_knob knobs[UCB_MAX_KNOBS])
{
    const struct ucb_knob *list = stage->method->knobs;
    uint32_t n = 0;
    for (; list != NULL && list[n].name != NULL; n++)
        knobs[n] = (struct ucb_cuda_knob){list[n].name, stage->value[n]};
    return n;
}

static ucb_status upload(struct ucb_cuda *cuda, enum ucb_cuda_purpose purpose,
                         const uint8_t *host, size_t n_bytes, const uint8_t **out,
                         struct ucb_err *err)
{
    void *p = NULL;
    *out = NULL;
    if (host == NULL) return UCB_OK;
    UCB_TRY(ucb_cuda_memory(cuda, purpose, n_bytes + 1, &p, err));
    const char *failed = ucb_cuda_table(cuda)->upload(ucb_cuda_device(cuda), UCB_CUDA_LOAD,
                                                      p, host, n_bytes);
    *out = p;
    return failed == NULL ? UCB_OK : UCB_FAIL(err, UCB_ENVIRONMENT, "upload: %s", failed);
}

/* Everything a decoder is told, and its run. */
static ucb_status decode_stage(const struct ucb_chain *chain, uint32_t index,
                               const struct ucb_matrix *matrix, const struct ucb_job *job,
                               const uint8_t *bytes, size_t n_bytes, struct ucb_cuda *cuda,
                               float *w, struct ucb_err *err)
{
    const struct ucb_cuda_method *list;
    const char *why;
    struct ucb_cuda_knob knobs[UCB_MAX_KNOBS];
    void *scratch = NULL;
    const struct ucb_stage *stage = &chain->stages[index];
    ucb_cuda_plugin(&list, &why);
    const struct ucb_cuda_method *decoder = find_decoder(list, stage->method);
    struct ucb_cuda_payload payload = {.host_bytes = bytes,
                                       .n_bytes = n_bytes,
                                       .host_shared = job->shared,
                                       .n_shared = job->n_shared,
                                       .knobs = knobs,
                                       .n_knobs = name_knobs(stage, knobs),
                                       .n_out = matrix->n_out,
                                       .n_in = matrix->n_in,
                                       .dtype = matrix->dtype,
                                       .deployed = chain->n_coded == 1,
                                       .before = index == 0 ? NULL : w};
    UCB_TRY(upload(cuda, UCB_CUDA_FOR_PAYLOAD, bytes, n_bytes, &payload.bytes, err));
    UCB_TRY(upload(cuda, UCB_CUDA_FOR_SHARED, job->shared, job->n_shared, &payload.shared,
                   err));
    if (decoder->scratch_bytes != NULL)
        UCB_TRY(ucb_cuda_memory(cuda, UCB_CUDA_FOR_SCRATCH,
                                decoder->scratch_bytes(&payload), &scratch, err));
    const char *failed = decoder->decode(ucb_cuda_device(cuda), UCB_CUDA_LOAD, &payload,
                                         scratch, w);
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s on the device: %s", matrix->name,
                    stage->method->name, failed);
}

ucb_status ucb_chain_decode_on_cuda(const struct ucb_chain *chain,
                                    const struct ucb_chain_context *context,
                                    const struct ucb_matrix *matrix, const uint8_t *payload,
                                    size_t n_bytes, struct ucb_cuda *cuda, float *w,
                                    struct ucb_err *err)
{
    const uint8_t *bytes[UCB_MAX_STAGES];
    size_t lengths[UCB_MAX_STAGES];
    const char *missing, *failed = NULL;
    if (!ucb_chain_decodes_on_cuda(chain, &missing))
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: the GPU plugin cannot decode %s",
                        matrix->name, missing);
    UCB_TRY(ucb_chain_split(chain, matrix, payload, n_bytes, bytes, lengths, err));
    for (uint32_t i = 0; i < chain->n_coded; i++) {
        struct ucb_job job;
        void *state;
        UCB_TRY(ucb_stage_open(chain, i, context, matrix, bytes[i], lengths[i], &state,
                               &job, err));
        UCB_TRY(decode_stage(chain, i, matrix, &job, bytes[i], lengths[i], cuda, w, err));
    }
    enum ucb_dtype dtype = ucb_chain_decoded_dtype(chain, matrix->dtype);
    if (dtype != UCB_F32)
        failed = ucb_cuda_table(cuda)->round(ucb_cuda_device(cuda), UCB_CUDA_LOAD, dtype, w,
                                             (size_t)matrix->n_out * matrix->n_in);
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s", matrix->name, failed);
}

ucb_status ucb_chain_decode_cuda(const struct ucb_chain *chain,
                                 const struct ucb_chain_context *context,
                                 const struct ucb_matrix *matrix, const uint8_t *payload,
                                 size_t n_bytes, struct ucb_cuda *cuda, float *host_w,
                                 struct ucb_err *err)
{
    void *w;
    size_t w_bytes = (size_t)matrix->n_out * matrix->n_in * sizeof(float);
    UCB_TRY(ucb_cuda_memory(cuda, UCB_CUDA_FOR_DECODED, w_bytes, &w, err));
    UCB_TRY(
        ucb_chain_decode_on_cuda(chain, context, matrix, payload, n_bytes, cuda, w, err));
    const struct ucb_cuda_backend *table = ucb_cuda_table(cuda);
    const char *failed = table->download(ucb_cuda_device(cuda), UCB_CUDA_LOAD, host_w, w,
                                         w_bytes);
    if (failed == NULL) failed = table->finish(ucb_cuda_device(cuda), UCB_CUDA_LOAD);
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s", matrix->name, failed);
}

ucb_status ucb_chain_pack_on_cuda(const struct ucb_chain *chain,
                                  const struct ucb_chain_context *context,
                                  const struct ucb_matrix *matrix, const uint8_t *payload,
                                  size_t n_bytes, struct ucb_cuda *cuda,
                                  const struct ucb_packed *weight, struct ucb_err *err)
{
    void *w;
    size_t w_bytes = (size_t)matrix->n_out * matrix->n_in * sizeof(float);
    UCB_TRY(ucb_cuda_memory(cuda, UCB_CUDA_FOR_DECODED, w_bytes, &w, err));
    UCB_TRY(
        ucb_chain_decode_on_cuda(chain, context, matrix, payload, n_bytes, cuda, w, err));
    return ucb_cuda_put_decoded(cuda, weight, w, err);
}
