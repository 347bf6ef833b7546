/* Task specs: canonical form, and what is refused. */
#include "test.h"

#include <string.h>

#include "task/task.h"

static struct ucb_task_run run;
static struct ucb_err err;

static void check_canonical(const char *spec, const char *canonical)
{
    CHECK_OK(ucb_task_parse(spec, &run, &err), err);
    CHECK_TEXT(run.spec, canonical);
}

static void check_refused(const char *spec, const char *part)
{
    CHECK_STATUS(ucb_task_parse(spec, &run, &err), UCB_USAGE, err);
    CHECK_HAS(err.text, part);
}

TEST(a_canonical_spec_names_only_what_is_not_default_in_the_order_of_the_table)
{
    check_canonical("wikitext", "wikitext:ctx=512");
    check_canonical("wikitext:half=1,ctx=512,join=raw,n=0", "wikitext:ctx=512,half=1");
    check_canonical("wikitext:join=hf,half=0,ctx=2048", "wikitext:ctx=2048,join=hf");
    check_canonical("lambada-windows:seed=42,n=500", "lambada-windows:n=500,seed=42");
    check_canonical("lambada-windows:seed=0", "lambada-windows:n=500,seed=0");
    check_canonical("lambada:n=500", "lambada:n=500");
    check_canonical("lambada:n=0", "lambada");
    check_canonical("wikitext-words:n=4", "wikitext-words:ctx=2048,n=4");
}

TEST(a_canonical_spec_parses_to_the_same_run)
{
    struct ucb_task_run again;
    CHECK_OK(ucb_task_parse("wikitext:n=64,ctx=1024", &run, &err), err);
    CHECK_OK(ucb_task_parse(run.spec, &again, &err), err);
    CHECK(memcmp(&run, &again, sizeof(run)) == 0);
}

TEST(an_unknown_task_or_knob_or_choice_is_answered_with_its_neighbours)
{
    check_refused("lambda", "`lambada`");
    check_refused("", "known: lambada");
    check_refused("wikitext:ctxt=512", "`ctx`");
    check_refused("wikitext:join=raws", "`raw`");
    check_refused("wikitext:join=", "join=");
    check_refused("wikitext-words:half=1", "no knob `half`");
}

TEST(a_knob_takes_a_whole_number_inside_its_range)
{
    check_refused("wikitext:ctx=7", "from 8 to 1048576");
    check_refused("wikitext:ctx=1048577", "from 8 to 1048576");
    check_refused("wikitext:half=2", "from 0 to 1");
    check_refused("lambada:n=-1", "from 0");
    check_refused("lambada-windows:n=0", "from 1");
    check_refused("lambada-windows:seed=4294967296", "4294967295");
    check_refused("lambada:n=1.5", "whole number");
    check_canonical("lambada-windows:n=500,seed=4294967295",
                    "lambada-windows:n=500,seed=4294967295");
    check_canonical("wikitext:ctx=8", "wikitext:ctx=8");
}

TEST(a_task_spec_with_a_broken_form_is_refused)
{
    check_refused("wikitext:", "expected key=value");
    check_refused("wikitext:ctx", "expected key=value");
    check_refused("wikitext:ctx=512,", "expected key=value");
    check_refused("wikitext:ctx=512,ctx=512", "twice");
    check_refused("lambada:n=1:n=2", "whole number");
    char longest[200];
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    check_refused(longest, "at most 127");
}
