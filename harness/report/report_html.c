#include "report/report.h"
static ucb_status run(struct ucb_report_job *job, struct ucb_err *err)
{
    (void)job;
    return UCB_FAIL(err, UCB_UNSUPPORTED, "not yet");
}
const struct ucb_report ucb_report_html = {"html", "x", run};
