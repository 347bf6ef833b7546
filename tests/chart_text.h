/* chart_text.h - what a chart's gnuplot text says, for tests. */
#ifndef UCB_TESTS_CHART_TEXT_H
#define UCB_TESTS_CHART_TEXT_H

/* The caption in a script as one line, a quote doubled as gnuplot has it; until the next
 * call. A script without one fails the test. */
const char *chart_caption(const char *script);

#endif
