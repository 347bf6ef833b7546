/*
 * cmd_doctor.c - is this machine ready? One line a question, with what to do where the
 * answer is no.
 */
#include "cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "backend/cuda.h"
#include "core/json.h"
#include "core/resource.h"
#include "environment.h"
#include "model/catalog.h"

static const char help[] =
    "usage: ucbench doctor [--cache DIR] [--json]\n"
    "\n"
    "Looks at the CPU's kernel paths, memory, gnuplot, the cache, the default model, the data and the GPU, and says what\n"
    "to do about what is missing. Exit code 0 when a sweep and its charts can be made, 4 when not.\n";

struct finding {
    const char *what;
    bool ok, needed;
    char detail[4300];
};

static bool on_path(const char *program)
{
    const char *path = getenv("PATH");
    for (const char *p = path; p != NULL && *p != '\0';) {
        char candidate[4096];
        int n = (int)strcspn(p, ":");
        snprintf(candidate, sizeof(candidate), "%.*s/%s", n, p, program);
        if (access(candidate, X_OK) == 0) return true;
        p += n + (p[n] == ':');
    }
    return false;
}

static struct finding kernels(enum ucb_arithmetic arithmetic)
{
    static const char *const names[UCB_N_STRICT_ARITHS] = {
        [UCB_ARITH_FP32] = "kernels fp32",
        [UCB_ARITH_BF16] = "kernels bf16",
        [UCB_ARITH_BF16_DOT] = "kernels bf16-dot",
    };
    struct finding f = {.what = names[arithmetic], .needed = true};
    size_t used = 0;
    for (unsigned k = UCB_KERNEL_SCALAR; k < UCB_KERNEL_CUDA; k++) { /* its own line */
        const char *why = NULL;
        bool runs = ucb_kernel_available((enum ucb_kernel)k, arithmetic, &why);
        f.ok |= runs;
        int n = snprintf(f.detail + used, sizeof(f.detail) - used, "%s%s%s%s%s",
                         used > 0 ? ", " : "", ucb_kernel_name((enum ucb_kernel)k),
                         runs ? "" : " (", runs || why == NULL ? "" : why, runs ? "" : ")");
        if (n > 0) used += (size_t)n;
    }
    if (arithmetic == UCB_ARITH_BF16_DOT)
        snprintf(f.detail + used, sizeof(f.detail) - used, "; %s",
                 ucb_dot_is_native() ? "avx512 by VDPBF16PS" : "by fma, without VDPBF16PS");
    return f;
}

static struct finding model(const char *cache)
{
    struct finding f = {.what = "model smollm2-135m", .needed = true};
    struct ucb_err err;
    f.ok = ucb_model_locate("smollm2-135m", cache, f.detail, sizeof(f.detail), &err) ==
           UCB_OK;
    if (!f.ok) snprintf(f.detail, sizeof(f.detail), "%s", err.text);
    return f;
}

static struct finding data(void)
{
    struct finding f = {.what = "full data sets"};
    const char *folder = getenv("UCBENCH_DATA");
    f.ok = folder != NULL && *folder != '\0' && access(folder, R_OK) == 0;
    snprintf(
        f.detail, sizeof(f.detail), "%s",
        f.ok
            ? folder
            : "not set; the mini sets inside the program are used (scripts/fetch.sh data DIR, then --data DIR)");
    return f;
}

static struct finding gnuplot(void)
{
    struct finding f = {.what = "gnuplot", .needed = true, .ok = on_path("gnuplot")};
    snprintf(f.detail, sizeof(f.detail), "%s",
             f.ok ? "found" : "not found; apt-get install gnuplot-nox");
    return f;
}

/* The device and the plugin's build, or which of the two is missing. */
static struct finding cuda(void)
{
    const struct ucb_cuda_method *methods;
    const char *what, *built;
    struct finding f = {.what = "CUDA", .ok = ucb_cuda_available(&what)};
    const struct ucb_cuda_backend *plugin = ucb_cuda_plugin(&methods, &built);
    snprintf(f.detail, sizeof(f.detail), "%s%s%s%s%s", what,
             plugin == NULL ? "" : " (plugin: ", plugin == NULL ? "" : built,
             plugin == NULL ? "" : ")",
             f.ok ? "; --kernel cuda or --arithmetic cublas uses it"
                  : "; everything runs on the CPU");
    return f;
}

static struct finding machine(void)
{
    struct finding f = {.what = "machine", .ok = true};
    char cpu[256];
    ucb_cpu_name(cpu, sizeof(cpu));
    snprintf(f.detail, sizeof(f.detail), "%s, %ld cores, %.1f GiB, build %.12s", cpu,
             sysconf(_SC_NPROCESSORS_ONLN), (double)ucb_ram_bytes() / (1u << 30),
             ucb_build_id());
    return f;
}

static ucb_status doctor_main(int n_args, char **args, struct ucb_err *err)
{
    const char *cache = NULL;
    bool as_json = false, ready = true;
    const struct ucb_option options[] = {{"--cache", UCB_OPTION_TEXT, .text = &cache},
                                         {"--json", UCB_OPTION_SWITCH, .on = &as_json}};
    UCB_TRY(ucb_options_parse("doctor", n_args, args, options, 2, NULL, NULL, 0, err));
    const struct finding findings[] = {machine(),
                                       kernels(UCB_ARITH_FP32),
                                       kernels(UCB_ARITH_BF16),
                                       kernels(UCB_ARITH_BF16_DOT),
                                       gnuplot(),
                                       model(cache),
                                       data(),
                                       cuda()};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof(findings) / sizeof(findings[0]); i++) {
        const struct finding *f = &findings[i];
        ready &= f->ok || !f->needed;
        json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:o}", "what", f->what, "ok",
                                              f->ok, "needed", f->needed, "detail",
                                              ucb_json_text(f->detail)));
        if (!as_json)
            printf("%-4s %-20s %s\n",
                   f->ok       ? "ok"
                   : f->needed ? "NO"
                               : "-",
                   f->what, f->detail);
    }
    if (as_json)
        UCB_TRY(ucb_json_print(list, "what was found", err));
    else
        json_decref(list);
    return ready ? UCB_OK
                 : UCB_FAIL(
                       err, UCB_ENVIRONMENT,
                       "this machine is not ready for a sweep; see the lines marked NO, in "
                       "JSON what is needed and not ok");
}

const struct ucb_command ucb_command_doctor = {
    .name = "doctor",
    .summary = "is this machine ready, and what to do if not",
    .help = help,
    .run = doctor_main,
};
