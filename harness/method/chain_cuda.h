/*
 * chain_cuda.h - decoding on a GPU: the same values as ucb_chain_decode(), from the same
 * bytes, by the plugin's decoders.
 *
 * The bytes are opened here first, by the methods' own open(): a damaged payload is refused
 * as it is on the CPU, and a decoder only ever sees bytes that were accepted.
 */
#ifndef UCB_METHOD_CHAIN_CUDA_H
#define UCB_METHOD_CHAIN_CUDA_H

#include "backend/cuda.h"
#include "method/chain.h"

/* Whether the plugin has a decoder, of the method's own revision, for every stage; if not,
 * *missing is the first method it has none for. */
bool ucb_chain_decodes_on_cuda(const struct ucb_chain *chain, const char **missing);

/*
 * Queues on the stream LOAD: the payload's way to the device and its decode into device
 * memory w[n_out][n_in], as deployed. Uses context->arena and scratch. UNSUPPORTED where a
 * stage has no decoder. CORRUPT, NOMEM, ENVIRONMENT.
 */
ucb_status ucb_chain_decode_on_cuda(const struct ucb_chain *chain,
                                    const struct ucb_chain_context *context,
                                    const struct ucb_matrix *matrix, const uint8_t *payload,
                                    size_t n_bytes, struct ucb_cuda *cuda, float *w,
                                    struct ucb_err *err);
/*
 * What open() cannot see, and ucb_chain_decode() refuses: waits for LOAD and answers for
 * all that was decoded there since the last call. Before a result is trusted. `name`, of
 * the matrix or of all, stands in the message. CORRUPT: an exact stage's stream does not
 * fit. UNSUPPORTED: a weight that is not finite. ENVIRONMENT.
 */
ucb_status ucb_chain_verdict_on_cuda(struct ucb_cuda *cuda, const char *name,
                                     struct ucb_err *err);
/* ucb_chain_decode_on_cuda() to host memory, and the verdict. */
ucb_status ucb_chain_decode_cuda(const struct ucb_chain *chain,
                                 const struct ucb_chain_context *context,
                                 const struct ucb_matrix *matrix, const uint8_t *payload,
                                 size_t n_bytes, struct ucb_cuda *cuda, float *host_w,
                                 struct ucb_err *err);
/*
 * ucb_chain_decode_on_cuda(), and packed: `weight` (its data is a name, see
 * ucb_cuda_put_decoded()) is ready for ucb_linear() on the device's backend. Everything is
 * queued on LOAD and nothing is waited for: called for the next layer's matrices before the
 * products of this one, payloads travel and decode beside them (eval/eval_layers.c).
 */
ucb_status ucb_chain_pack_on_cuda(const struct ucb_chain *chain,
                                  const struct ucb_chain_context *context,
                                  const struct ucb_matrix *matrix, const uint8_t *payload,
                                  size_t n_bytes, struct ucb_cuda *cuda,
                                  const struct ucb_packed *weight, struct ucb_err *err);

#endif
