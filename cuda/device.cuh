/*
 * device.cuh - an opened device: two streams, memory that is counted, what went wrong.
 */
#ifndef UCB_CUDA_DEVICE_CUH
#define UCB_CUDA_DEVICE_CUH

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <new>

#include "platform.cuh"

struct ucb_cuda_device {
    cudaStream_t stream[UCB_CUDA_N_STREAMS];
    std::map<void *, size_t> pieces; /* device memory, by address */
    struct ucb_cuda_info info;
    char text[512]; /* the last answer */
    void *cublas;   /* struct cublas_library of cublas.cuh; NULL: not asked for */
};
struct ucb_cuda_event {
    cudaEvent_t event;
};

/* NULL where the call succeeded. */
static const char *answer(struct ucb_cuda_device *device, const char *what,
                          cudaError_t code)
{
    if (code == cudaSuccess) return NULL;
    snprintf(device->text, sizeof(device->text), "%s: %s", what, cudaGetErrorString(code));
    return device->text;
}

/* After a launch: a grid or block that the device cannot run is known at once. */
static const char *launched(struct ucb_cuda_device *device, const char *kernel)
{
    return answer(device, kernel, cudaGetLastError());
}

static unsigned n_blocks(size_t n, size_t per_block)
{
    return (unsigned)((n + per_block - 1) / per_block);
}

/* ---- life ---- */

#ifdef __CUDACC__
static int device_probe(char *text, size_t n_text)
{
    int n = 0;
    struct cudaDeviceProp properties;
    cudaError_t code = cudaGetDeviceCount(&n);
    if (code != cudaSuccess || n <= 0) {
        snprintf(text, n_text, "no CUDA device: %s",
                 code == cudaSuccess ? "none is visible" : cudaGetErrorString(code));
        return 0;
    }
    code = cudaGetDeviceProperties(&properties, 0);
    snprintf(text, n_text, "%s",
             code == cudaSuccess ? properties.name : cudaGetErrorString(code));
    return code == cudaSuccess ? n : 0;
}

static cudaError_t fill_info(int index, struct ucb_cuda_info *info)
{
    struct cudaDeviceProp properties;
    int driver = 0, runtime = 0;
    cudaError_t code = cudaGetDeviceProperties(&properties, index);
    if (code == cudaSuccess) code = cudaDriverGetVersion(&driver);
    if (code == cudaSuccess) code = cudaRuntimeGetVersion(&runtime);
    if (code != cudaSuccess) return code;
    snprintf(info->name, sizeof(info->name), "%s", properties.name);
    info->major = (uint32_t)properties.major;
    info->minor = (uint32_t)properties.minor;
    info->driver_version = (uint32_t)driver;
    info->runtime_version = (uint32_t)runtime;
    info->memory_bytes = properties.totalGlobalMem;
    return cudaSetDevice(index);
}
#else
static int device_probe(char *text, size_t n_text)
{
    snprintf(text, n_text, "emulated device");
    return 1;
}

static cudaError_t fill_info(int, struct ucb_cuda_info *info)
{
    snprintf(info->name, sizeof(info->name), "emulated device");
    info->memory_bytes = emulated_memory();
    return cudaSuccess;
}
#endif

static void device_close(struct ucb_cuda_device *device);

static const char *device_open(int index, struct ucb_cuda_device **out)
{
    static char text[256];
    struct ucb_cuda_device *device = new (std::nothrow) ucb_cuda_device();
    if (device == NULL) return "no memory";
    cudaError_t code = fill_info(index, &device->info);
    for (int i = 0; i < UCB_CUDA_N_STREAMS && code == cudaSuccess; i++)
        code = cudaStreamCreate(&device->stream[i]);
    if (code == cudaSuccess) {
        *out = device;
        return NULL;
    }
    snprintf(text, sizeof(text), "%s", cudaGetErrorString(code));
    device_close(device);
    return text;
}

static void cublas_close(struct ucb_cuda_device *device);

/* Errors of a device that is being left tell nobody anything. */
static void device_close(struct ucb_cuda_device *device)
{
    cublas_close(device);
    for (const auto &piece : device->pieces) (void)cudaFree(piece.first);
    for (int i = 0; i < UCB_CUDA_N_STREAMS; i++)
        if (device->stream[i] != NULL) (void)cudaStreamDestroy(device->stream[i]);
    delete device;
}

static void device_info(const struct ucb_cuda_device *device, struct ucb_cuda_info *out)
{
    *out = device->info;
}

static void device_restart_peak(struct ucb_cuda_device *device)
{
    device->info.peak_bytes = device->info.used_bytes;
}

/* ---- memory ---- */

static const char *device_alloc(struct ucb_cuda_device *device, size_t n_bytes, void **out)
{
    void *p = NULL;
    const char *failed = answer(device, "cudaMalloc",
                                cudaMalloc(&p, n_bytes == 0 ? 1 : n_bytes));
    if (failed != NULL) {
        (void)cudaGetLastError(); /* memory that ran out is no error of the next launch */
        return failed;
    }
    device->pieces[p] = n_bytes;
    device->info.used_bytes += n_bytes;
    if (device->info.used_bytes > device->info.peak_bytes)
        device->info.peak_bytes = device->info.used_bytes;
    *out = p;
    return NULL;
}

static void device_free(struct ucb_cuda_device *device, void *p)
{
    auto piece = device->pieces.find(p);
    if (piece == device->pieces.end()) return;
    for (int i = 0; i < UCB_CUDA_N_STREAMS; i++)
        (void)cudaStreamSynchronize(device->stream[i]);
    device->info.used_bytes -= piece->second;
    device->pieces.erase(piece);
    (void)cudaFree(p);
}

static const char *device_alloc_host(struct ucb_cuda_device *device, size_t n_bytes,
                                     void **out)
{
    return answer(device, "cudaMallocHost", cudaMallocHost(out, n_bytes));
}

static void device_free_host(struct ucb_cuda_device *device, void *p)
{
    for (int i = 0; i < UCB_CUDA_N_STREAMS; i++)
        (void)cudaStreamSynchronize(device->stream[i]);
    (void)cudaFreeHost(p);
}

static const char *device_upload(struct ucb_cuda_device *device,
                                 enum ucb_cuda_stream stream, void *to,
                                 const void *host_from, size_t n_bytes)
{
    return answer(device, "upload",
                  cudaMemcpyAsync(to, host_from, n_bytes, cudaMemcpyHostToDevice,
                                  device->stream[stream]));
}

static const char *device_download(struct ucb_cuda_device *device,
                                   enum ucb_cuda_stream stream, void *host_to,
                                   const void *from, size_t n_bytes)
{
    return answer(device, "download",
                  cudaMemcpyAsync(host_to, from, n_bytes, cudaMemcpyDeviceToHost,
                                  device->stream[stream]));
}

/* ---- order ---- */

static const char *device_event_new(struct ucb_cuda_device *device,
                                    struct ucb_cuda_event **out)
{
    struct ucb_cuda_event *event = new (std::nothrow) ucb_cuda_event();
    if (event == NULL) return "no memory for an event";
    const char *failed = answer(device, "event", cudaEventCreate(&event->event));
    if (failed != NULL)
        delete event;
    else
        *out = event;
    return failed;
}

static void device_event_free(struct ucb_cuda_device *, struct ucb_cuda_event *event)
{
    (void)cudaEventDestroy(event->event);
    delete event;
}

static const char *device_record(struct ucb_cuda_device *device,
                                 enum ucb_cuda_stream stream, struct ucb_cuda_event *event)
{
    return answer(device, "record", cudaEventRecord(event->event, device->stream[stream]));
}

static const char *device_wait(struct ucb_cuda_device *device, enum ucb_cuda_stream stream,
                               struct ucb_cuda_event *event)
{
    return answer(device, "wait",
                  cudaStreamWaitEvent(device->stream[stream], event->event, 0));
}

static const char *device_finish_event(struct ucb_cuda_device *device,
                                       struct ucb_cuda_event *event)
{
    return answer(device, "finish", cudaEventSynchronize(event->event));
}

static const char *device_finish(struct ucb_cuda_device *device,
                                 enum ucb_cuda_stream stream)
{
    return answer(device, "finish", cudaStreamSynchronize(device->stream[stream]));
}

#endif
