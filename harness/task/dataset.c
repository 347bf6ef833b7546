/* dataset.c - see dataset.h. */
#include "task/dataset.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/resource.h"
#include "task/manifest.h"

static ucb_status open_mini(const char *mini_file, struct ucb_dataset *out,
                            struct ucb_err *err)
{
    const struct ucb_resource *resource = ucb_resource_find(mini_file);
    if (resource == NULL)
        return UCB_FAIL(
            err, UCB_MISSING,
            "%s: this program was built without it; put the file there and run `make`",
            mini_file);
    snprintf(out->file, sizeof(out->file), "%s", mini_file);
    out->text = resource->data;
    out->n_bytes = resource->n_bytes;
    return UCB_OK;
}

static ucb_status open_full(const char *folder, const struct ucb_manifest_file *known,
                            struct ucb_dataset *out, struct ucb_err *err)
{
    if ((size_t)snprintf(out->file, sizeof(out->file), "%s/%s", folder, known->path) >=
        sizeof(out->file))
        return UCB_FAIL(
            err, UCB_USAGE,
            "--data %.200s...: the path has more than %zu bytes; use a shorter one", folder,
            sizeof(out->file) - 1);
    ucb_status status = ucb_file_map(out->file, &out->mapping, err);
    if (status == UCB_MISSING)
        return UCB_FAIL(err, UCB_MISSING,
                        "%s: not there (a file of %llu bytes, SHA-256 %s); put it there, "
                        "or run `scripts/fetch.sh data %s`, or use the small set inside "
                        "the program with `--data mini`",
                        out->file, (unsigned long long)known->bytes, known->sha256, folder);
    out->text = out->mapping.data == NULL ? "" : (const char *)out->mapping.data;
    out->n_bytes = out->mapping.n_bytes;
    return status;
}

static ucb_status check_digest(struct ucb_dataset *dataset,
                               const struct ucb_manifest *manifest,
                               const struct ucb_manifest_file *known, struct ucb_err *err)
{
    ucb_sha256_hex(dataset->text, dataset->n_bytes, dataset->digest);
    if (strcmp(dataset->digest, known->sha256) == 0) return UCB_OK;
    return UCB_FAIL(err, UCB_CORRUPT,
                    "%s: SHA-256 %s (%zu bytes), expected %s (%s/manifest.ini); it is not "
                    "the file that results are compared on: run `scripts/fetch.sh data`, "
                    "which replaces it",
                    dataset->file, dataset->digest, dataset->n_bytes, known->sha256,
                    manifest->folder);
}

const char *ucb_data_folder(const char *data)
{
    const char *variable = getenv("UCBENCH_DATA");
    if (data != NULL) return data;
    return variable != NULL && variable[0] != '\0' ? variable : "mini";
}

ucb_status ucb_dataset_open(const char *full_file, const char *mini_file, const char *data,
                            struct ucb_dataset *out, struct ucb_err *err)
{
    struct ucb_dataset dataset = {0};
    const struct ucb_manifest *manifest;
    const struct ucb_manifest_file *known;
    data = ucb_data_folder(data);
    bool mini = strcmp(data, "mini") == 0;
    UCB_TRY(ucb_manifest_find(mini ? mini_file : full_file, &manifest, &known, err));
    dataset.name = manifest->name;
    UCB_TRY(mini ? open_mini(mini_file, &dataset, err)
                 : open_full(data, known, &dataset, err));
    ucb_status status = check_digest(&dataset, manifest, known, err);
    if (status == UCB_OK)
        *out = dataset;
    else
        ucb_dataset_close(&dataset);
    return status;
}

void ucb_dataset_close(struct ucb_dataset *dataset)
{
    ucb_file_unmap(&dataset->mapping);
    *dataset = (struct ucb_dataset){0};
}
