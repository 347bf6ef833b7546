/* peak.c - see peak.h. The mark that getrusage reads is reset by a 5 in clear_refs (Linux
 * 4.0; proc(5)). */
#include "core/peak.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t before; /* the highest mark that was reset */

uint64_t ucb_peak_rss(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

uint64_t ucb_peak_rss_ever(void)
{
    uint64_t now = ucb_peak_rss();
    return now > before ? now : before;
}

void ucb_peak_restart(void)
{
    before = ucb_peak_rss_ever();
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t unused = write(fd, "5", 1);
    (void)unused;
    close(fd);
}
