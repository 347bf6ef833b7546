/*
 * chain_cuda.c - a chain's payload on a GPU: stage after stage into one matrix, rounded
 * once to the deployed dtype (see opened.c, which does the same on the CPU). An exact stage
 * restores bits from that matrix, unrounded, and they are widened into its place.
 */
#include "method/chain_cuda.h"

#include <string.h>

#include "method/chain_internal.h"
#include "method/payload.h"

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
        if (chain->stages[i].method->kind > UCB_EXACT ||
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
    const char *failed = ucb_cuda_send(cuda, p, host, n_bytes);
    *out = p;
    return failed == NULL ? UCB_OK : UCB_FAIL(err, UCB_ENVIRONMENT, "upload: %s", failed);
}

/* A stage, opened, and where its bytes are. */
struct opened_stage {
    const struct ucb_stage *stage;
    struct ucb_job job;
    const void *state;
    const uint8_t *bytes;
    size_t n_bytes;
};

static ucb_status upload_plan(const struct opened_stage *s, struct ucb_cuda *cuda,
                              struct ucb_writer *plan, struct ucb_cuda_payload *payload,
                              struct ucb_err *err)
{
    struct ucb_job job = s->job;
    if (s->stage->method->device_plan == NULL) return UCB_OK;
    UCB_TRY(s->stage->method->device_plan(&job, s->state, s->bytes, plan, err));
    payload->host_plan = plan->data;
    payload->n_plan = plan->n_bytes;
    return upload(cuda, UCB_CUDA_FOR_PLAN, plan->data, plan->n_bytes, &payload->plan, err);
}

/* Everything a decoder is told, and its run; `plan` lives until the work is queued. */
static ucb_status decode_stage(const struct opened_stage *s, struct ucb_cuda *cuda,
                               struct ucb_writer *plan, struct ucb_cuda_payload *payload,
                               void *out, const char *name, struct ucb_err *err)
{
    const struct ucb_cuda_method *list;
    const char *why;
    struct ucb_cuda_knob knobs[UCB_MAX_KNOBS];
    void *scratch = NULL;
    ucb_cuda_plugin(&list, &why);
    const struct ucb_cuda_method *decoder = find_decoder(list, s->stage->method);
    payload->host_bytes = s->bytes;
    payload->n_bytes = s->n_bytes;
    payload->host_shared = s->job.shared;
    payload->n_shared = s->job.n_shared;
    payload->knobs = knobs;
    payload->n_knobs = name_knobs(s->stage, knobs);
    UCB_TRY(upload(cuda, UCB_CUDA_FOR_PAYLOAD, s->bytes, s->n_bytes, &payload->bytes, err));
    UCB_TRY(upload(cuda, UCB_CUDA_FOR_SHARED, s->job.shared, s->job.n_shared,
                   &payload->shared, err));
    UCB_TRY(upload_plan(s, cuda, plan, payload, err));
    if (decoder->scratch_bytes != NULL)
        UCB_TRY(ucb_cuda_memory(cuda, UCB_CUDA_FOR_SCRATCH, decoder->scratch_bytes(payload),
                                &scratch, err));
    const char *failed = decoder->decode(ucb_cuda_device(cuda), UCB_CUDA_LOAD, payload,
                                         scratch, out);
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s on the device: %s", name,
                    s->stage->method->name, failed);
}

/* The source's bits, and they as floats in w, which holds what the stages before sum to. */
static ucb_status decode_exact(const struct opened_stage *s,
                               const struct ucb_matrix *matrix, struct ucb_cuda *cuda,
                               struct ucb_writer *plan, struct ucb_cuda_payload *payload,
                               float *w, struct ucb_err *err)
{
    void *bits;
    UCB_TRY(ucb_cuda_memory(cuda, UCB_CUDA_FOR_BITS, ucb_matrix_bits_bytes(matrix), &bits,
                            err));
    UCB_TRY(decode_stage(s, cuda, plan, payload, bits, matrix->name, err));
    const char *failed = ucb_cuda_table(cuda)->widen(ucb_cuda_device(cuda), UCB_CUDA_LOAD,
                                                     matrix->dtype, bits,
                                                     ucb_matrix_weights(matrix), w);
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s", matrix->name, failed);
}

static ucb_status run_stage(const struct ucb_chain *chain, uint32_t index,
                            const struct opened_stage *s, const struct ucb_matrix *matrix,
                            struct ucb_cuda *cuda, float *w,
                            struct ucb_cuda_verdict *verdict, struct ucb_err *err)
{
    struct ucb_writer plan = {0};
    struct ucb_cuda_payload payload = {.n_out = matrix->n_out,
                                       .n_in = matrix->n_in,
                                       .dtype = matrix->dtype,
                                       .deployed = chain->n_coded == 1,
                                       .before = index == 0 ? NULL : w,
                                       .bad = &verdict->damaged};
    ucb_status status = s->stage->method->kind == UCB_EXACT
                            ? decode_exact(s, matrix, cuda, &plan, &payload, w, err)
                            : decode_stage(s, cuda, &plan, &payload, w, matrix->name, err);
    ucb_writer_free(&plan);
    return status;
}

/* The sum as it is deployed, and whether it is finite. */
static ucb_status deploy(const struct ucb_chain *chain, const struct ucb_matrix *matrix,
                         struct ucb_cuda *cuda, float *w, struct ucb_cuda_verdict *verdict,
                         struct ucb_err *err)
{
    const struct ucb_cuda_backend *table = ucb_cuda_table(cuda);
    struct ucb_cuda_device *device = ucb_cuda_device(cuda);
    enum ucb_dtype dtype = ucb_chain_decoded_dtype(chain, matrix->dtype);
    size_t n = ucb_matrix_weights(matrix);
    const char *failed = dtype == UCB_F32
                             ? NULL
                             : table->round(device, UCB_CUDA_LOAD, dtype, w, n);
    if (failed == NULL)
        failed = table->find_nonfinite(device, UCB_CUDA_LOAD, w, n, &verdict->nonfinite);
    if (failed == NULL) return UCB_OK;
    return UCB_FAIL(err, UCB_ENVIRONMENT, "%s: %s", matrix->name, failed);
}

ucb_status ucb_chain_decode_on_cuda(const struct ucb_chain *chain,
                                    const struct ucb_chain_context *context,
                                    const struct ucb_matrix *matrix, const uint8_t *payload,
                                    size_t n_bytes, struct ucb_cuda *cuda, float *w,
                                    struct ucb_err *err)
{
    const uint8_t *bytes[UCB_MAX_STAGES];
    size_t lengths[UCB_MAX_STAGES];
    struct ucb_cuda_verdict *verdict;
    const char *missing;
    if (!ucb_chain_decodes_on_cuda(chain, &missing))
        return UCB_FAIL(err, UCB_UNSUPPORTED, "%s: the GPU plugin cannot decode %s",
                        matrix->name, missing);
    UCB_TRY(ucb_cuda_verdict(cuda, &verdict, err));
    UCB_TRY(ucb_chain_split(chain, matrix, payload, n_bytes, bytes, lengths, err));
    for (uint32_t i = 0; i < chain->n_coded; i++) {
        struct opened_stage stage = {
            .stage = &chain->stages[i], .bytes = bytes[i], .n_bytes = lengths[i]};
        void *state;
        UCB_TRY(ucb_stage_open(chain, i, context, matrix, bytes[i], lengths[i], &state,
                               &stage.job, err));
        stage.state = state;
        ucb_status status = run_stage(chain, i, &stage, matrix, cuda, w, verdict, err);
        ucb_arena_reset(context->scratch);
        if (status != UCB_OK) return status;
    }
    return ucb_chain_is_exact(chain) ? UCB_OK
                                     : deploy(chain, matrix, cuda, w, verdict, err);
}

ucb_status ucb_chain_verdict_on_cuda(struct ucb_cuda *cuda, const char *name,
                                     struct ucb_err *err)
{
    struct ucb_cuda_verdict verdict;
    UCB_TRY(ucb_cuda_take_verdict(cuda, &verdict, err));
    if (verdict.damaged != 0)
        return UCB_FAIL(err, UCB_CORRUPT,
                        "%s: coded bytes do not decode to what was encoded; were they "
                        "written with the same method spec?",
                        name);
    if (verdict.nonfinite != 0)
        return UCB_FAIL(err, UCB_UNSUPPORTED,
                        "%s: a decoded weight is past the largest of the dtype that its "
                        "method deploys; try a method that deploys F32",
                        name);
    return UCB_OK;
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
    UCB_TRY(ucb_chain_verdict_on_cuda(cuda, matrix->name, err));
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
