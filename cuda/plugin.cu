/*
 * plugin.cu - libucbench_cuda.so: the tables it exports. One translation unit: every
 * architecture compiles the device code once.
 */
#include "attention.cuh"
#include "cublas.cuh"
#include "decode_awq.cuh"
#include "decode_bnb4.cuh"
#include "decode_gptq.cuh"
#include "decode_gsq.cuh"
#include "decode_hqq.cuh"
#include "decode_int5.cuh"
#include "decode_int8.cuh"
#include "decode_lossless.cuh"
#include "decode_lowrank.cuh"
#include "decode_residual.cuh"
#include "decode_row_overlay.cuh"
#include "decode_rtn.cuh"
#include "head.cuh"
#include "linear.cuh"
#include "rows.cuh"
#include "widen.cuh"

#ifdef __CUDACC__
#define UCB_TEXT_(x) #x
#define UCB_TEXT(x) UCB_TEXT_(x)
#define UCB_BUILT                                        \
    "CUDA " UCB_TEXT(__CUDACC_VER_MAJOR__) "." UCB_TEXT( \
        __CUDACC_VER_MINOR__) ", " UCB_CUDA_ARCHITECTURES
enum { IS_EMULATED = 0 };
#else
#define UCB_BUILT "emulation on the CPU, for tests"
enum { IS_EMULATED = 1 };
#endif

#define UCB_EXPORT extern "C" __attribute__((visibility("default")))

UCB_EXPORT const struct ucb_cuda_backend ucb_cuda_backend = {
    .abi = UCB_CUDA_ABI,
    .bytes = UCB_CUDA_BYTES,
    .built = UCB_BUILT,
    .emulated = IS_EMULATED,
    .probe = device_probe,
    .open = device_open,
    .close = device_close,
    .info = device_info,
    .restart_peak = device_restart_peak,
    .alloc = device_alloc,
    .free = device_free,
    .alloc_host = device_alloc_host,
    .free_host = device_free_host,
    .upload = device_upload,
    .download = device_download,
    .event_new = device_event_new,
    .event_free = device_event_free,
    .record = device_record,
    .wait = device_wait,
    .finish_event = device_finish_event,
    .finish = device_finish,
    .pack = run_pack,
    .round = run_round,
    .widen = run_widen,
    .find_nonfinite = run_find_nonfinite,
    .linear = run_linear,
    .rmsnorm = run_rmsnorm,
    .layernorm = run_layernorm,
    .rope = run_rope,
    .activate = run_activate,
    .cap = run_cap,
    .scale = run_scale,
    .clamp = run_clamp,
    .add = run_add,
    .attention = run_attention,
    .convolve = run_convolve,
    .scan = run_scan,
    .score = run_score,
    .cublas = run_cublas,
};

/* In the order of the names; docs/cuda.md says how to add one. */
UCB_EXPORT const struct ucb_cuda_method ucb_cuda_methods[] = {
    {"awq", 1, NULL, awq_decode},
    {"fp4", 1, bnb4_scratch_bytes, fp4_decode},
    {"gguf", 1, NULL, gguf_decode},
    {"gptq", 2, NULL, gptq_decode},
    {"gsq", 1, NULL, gsq_decode},
    {"hqq", 1, NULL, hqq_decode},
    {"int5", 2, int5_scratch_bytes, int5_decode},
    {"int8", 1, NULL, int8_decode},
    {"lossless", 2, NULL, lossless_decode},
    {"lowrank", 1, lowrank_scratch_bytes, lowrank_decode},
    {"nf4", 1, bnb4_scratch_bytes, nf4_decode},
    {"none", 1, NULL, none_decode},
    {"residual", 2, residual_scratch_bytes, residual_decode},
    {"row_overlay", 1, NULL, row_overlay_decode},
    {"rtn", 1, NULL, rtn_decode},
    {NULL, 0, NULL, NULL},
};
