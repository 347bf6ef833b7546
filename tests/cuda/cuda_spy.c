/* cuda_spy.c - see cuda_spy.h. */
#include "cuda_spy.h"

#include "backend/cuda_internal.h"

static struct ucb_cuda *watched;
static const struct ucb_cuda_backend *real;
static struct ucb_cuda_backend spied;
static char seen[4096];
static size_t n_seen;
static uint64_t uploaded_bytes, downloaded_bytes;
static long n_to_failure; /* 0: never */
static uintptr_t rows_at; /* all bits of where products read and write */

static void note(char what)
{
    if (n_seen + 1 < sizeof(seen)) seen[n_seen++] = what;
}

static bool fails(enum ucb_cuda_stream stream)
{
    return stream == UCB_CUDA_COMPUTE && n_to_failure > 0 && --n_to_failure == 0;
}

static const char *spy_upload(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                              void *to, const void *host_from, size_t n_bytes)
{
    if (fails(stream)) return "a planted failure";
    if (stream == UCB_CUDA_COMPUTE) uploaded_bytes += n_bytes;
    return real->upload(device, stream, to, host_from, n_bytes);
}

static const char *spy_download(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                                void *host_to, const void *from, size_t n_bytes)
{
    if (fails(stream)) return "a planted failure";
    if (stream == UCB_CUDA_COMPUTE) downloaded_bytes += n_bytes;
    return real->download(device, stream, host_to, from, n_bytes);
}

static const char *spy_pack(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                            enum ucb_arithmetic arithmetic, const float *w, uint32_t n_out,
                            uint32_t n_in, void *packed)
{
    note('p');
    return real->pack(device, stream, arithmetic, w, n_out, n_in, packed);
}

static const char *spy_linear(struct ucb_cuda_device *device,
                              enum ucb_arithmetic arithmetic, const void *packed,
                              uint32_t n_out, uint32_t n_in, const float *bias,
                              const float *x, size_t n_rows, float *y, size_t y_stride)
{
    note('m');
    rows_at |= (uintptr_t)x | (uintptr_t)y;
    if (fails(UCB_CUDA_COMPUTE)) return "a planted failure";
    return real->linear(device, arithmetic, packed, n_out, n_in, bias, x, n_rows, y,
                        y_stride);
}

static const char *spy_finish(struct ucb_cuda_device *device, enum ucb_cuda_stream stream)
{
    if (stream == UCB_CUDA_LOAD) note('w');
    return real->finish(device, stream);
}

static void spy_free(struct ucb_cuda_device *device, void *p)
{
    note('w');
    real->free(device, p);
}

void cuda_spy_begin(struct ucb_cuda *cuda, bool watches)
{
    watched = cuda;
    real = cuda->table;
    spied = *real;
    spied.emulated = watches;
    spied.upload = spy_upload;
    spied.download = spy_download;
    spied.pack = spy_pack;
    spied.linear = spy_linear;
    spied.finish = spy_finish;
    spied.free = spy_free;
    cuda->table = &spied;
    n_seen = 0;
    n_to_failure = 0;
    uploaded_bytes = downloaded_bytes = 0;
    rows_at = 0;
}

void cuda_spy_as_cublas(bool on)
{
    watched->arithmetic = on ? UCB_ARITH_CUBLAS : UCB_ARITH_FP32;
}

size_t cuda_spy_alignment(void)
{
    return rows_at & -rows_at;
}

void cuda_spy_fail_after(long n)
{
    n_to_failure = n;
}

void cuda_spy_bytes(uint64_t *uploaded, uint64_t *downloaded)
{
    *uploaded = uploaded_bytes;
    *downloaded = downloaded_bytes;
    uploaded_bytes = downloaded_bytes = 0;
}

void cuda_spy_end(void)
{
    watched->table = real;
    seen[n_seen] = '\0';
}

const char *cuda_spy_seen(void)
{
    return seen;
}
