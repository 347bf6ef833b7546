/* Numbers as documents print them, and Holm's adjustment. */
#include "test.h"

#include <math.h>

#include "report/quantity.h"

static struct ucb_quantity parsed(const char *text)
{
    struct ucb_quantity q;
    struct ucb_err err;
    CHECK_OK(ucb_quantity_parse(text, &q, &err), err);
    return q;
}

static void check(const char *text, enum ucb_relation relation, double low, double high,
                  double slack)
{
    struct ucb_quantity q = parsed(text);
    CHECK_EQ(q.relation, relation);
    CHECK_NEAR(q.low, low, 0);
    CHECK_NEAR(q.high, high, 0);
    CHECK_NEAR(q.slack, slack, 1e-12 * slack); /* powers of ten */
}

TEST(a_printed_number_is_read_with_the_rounding_it_shows)
{
    check("5", UCB_RELATION_EQUAL, 5, 5, 0.5);
    check("97.57", UCB_RELATION_EQUAL, 97.57, 97.57, 0.005);
    check("-0.67", UCB_RELATION_EQUAL, -0.67, -0.67, 0.005);
    check("8.000", UCB_RELATION_EQUAL, 8, 8, 0.0005);
    check("68.1%", UCB_RELATION_EQUAL, 68.1, 68.1, 0.05);
    check("3.2x", UCB_RELATION_EQUAL, 3.2, 3.2, 0.05);
    check("140", UCB_RELATION_EQUAL, 140, 140, 5); /* could be 138 */
    check("8300", UCB_RELATION_EQUAL, 8300, 8300, 50);
    check("0", UCB_RELATION_EQUAL, 0, 0, 0.5);
    check("1,509,916", UCB_RELATION_EQUAL, 1509916, 1509916, 0.5);
}

TEST(relations_lists_ranges_and_words_are_read)
{
    check("~5", UCB_RELATION_ABOUT, 5, 5, 0.5);
    check("~52", UCB_RELATION_ABOUT, 52, 52, 5.2);
    check("<2", UCB_RELATION_BELOW, 2, 2, 0.5);
    check("10,000+", UCB_RELATION_ABOVE, 10000, 10000, 5000);
    check("4;5;8", UCB_RELATION_EQUAL, 4, 8, 0.5);
    CHECK_EQ(parsed("4;5;8").n_numbers, 3);
    check("0.25-0.5", UCB_RELATION_EQUAL, 0.25, 0.5, 0.05);
    CHECK_EQ(parsed("TBD").relation, UCB_RELATION_NONE);
    CHECK_EQ(parsed("variable").n_numbers, 0);
    CHECK_EQ(parsed("").relation, UCB_RELATION_NONE);
}

TEST(what_is_no_value_is_refused_and_named)
{
    static const char *const bad[] = {"many", "5 apples", "~",     "1,50",   "5;",
                                      "--5",  "nan",      "1e5",   "0x10",   "<<2",
                                      " 5",   "5%%",      "1.2.3", "1,0000", "1.000,5"};
    struct ucb_quantity q;
    struct ucb_err err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_STATUS(ucb_quantity_parse(bad[i], &q, &err), UCB_USAGE, err);
        CHECK_HAS(err.text, bad[i]);
    }
}
