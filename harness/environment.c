/* environment.c - see environment.h. */
#include "environment.h"

#include <gnu/libc-version.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <sqlite3.h>
#include <utf8proc.h>

#include "backend/cuda.h"
#include "core/json.h"

void ucb_cpu_name(char *out, size_t size)
{
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (file != NULL) fclose(file);
}

uint64_t ucb_ram_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages < 0 || page < 0 ? (uint64_t)4 << 30 : (uint64_t)pages * (uint64_t)page;
}

static json_t *kernel_paths(void)
{
    json_t *list = json_array();
    for (unsigned k = UCB_KERNEL_SCALAR; k < UCB_N_KERNELS; k++)
        if (ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_BF16, NULL) ||
            ucb_kernel_available((enum ucb_kernel)k, UCB_ARITH_FP32, NULL))
            json_array_append_new(list, json_string(ucb_kernel_name((enum ucb_kernel)k)));
    return list;
}

json_t *ucb_environment(void)
{
    struct utsname system;
    char cpu[256], pcre[64] = "?";
    const char *cuda;
    ucb_cpu_name(cpu, sizeof(cpu));
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    if (uname(&system) != 0) memset(&system, 0, sizeof(system));
    ucb_cuda_available(&cuda);
    return json_pack(
        "{s:s, s:i, s:I, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "cpu",
        cpu, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN), "ram_bytes",
        (json_int_t)ucb_ram_bytes(), "system", system.sysname, "release", system.release,
        "machine", system.machine, "kernels", kernel_paths(), "cuda", cuda, "compiler",
        __VERSION__, "sqlite", sqlite3_libversion(), "openssl",
        OpenSSL_version(OPENSSL_VERSION), "pcre2", pcre, "utf8proc", utf8proc_version(),
        "libc", gnu_get_libc_version());
}

ucb_status ucb_environment_text(json_t *environment, char **out, struct ucb_err *err)
{
    char *text = environment == NULL ? NULL : json_dumps(environment, JSON_COMPACT);
    bool lost = ucb_json_lost();
    json_decref(environment);
    if (text == NULL || lost) {
        free(text);
        return UCB_FAIL(err, UCB_NOMEM,
                        "no memory for what the run's row says of the machine");
    }
    *out = text;
    return UCB_OK;
}
