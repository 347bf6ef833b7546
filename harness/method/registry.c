/* registry.c - the methods of this build: the Makefile lists methods/<name>.c as
 * METHOD(name), in name order. */
#include <assert.h>
#include <string.h>

#include "method/method.h"

#define METHOD(name) extern const struct ucb_method ucb_method_##name;
#include "methods.list"
#undef METHOD

static const struct ucb_method *const methods[] = {
#define METHOD(name) &ucb_method_##name,
#include "methods.list"
#undef METHOD
    NULL,
};

const struct ucb_method *const *ucb_methods(void)
{
    return methods;
}

const struct ucb_method *ucb_method_find(const char *name)
{
    for (size_t i = 0; methods[i] != NULL; i++)
        if (strcmp(methods[i]->name, name) == 0) return methods[i];
    return NULL;
}

double ucb_job_value(const struct ucb_job *job, const char *knob)
{
    for (size_t i = 0; job->method->knobs[i].name != NULL; i++)
        if (strcmp(job->method->knobs[i].name, knob) == 0) return job->value[i];
    assert(!"a method reads only knobs of its own table");
    return 0;
}
