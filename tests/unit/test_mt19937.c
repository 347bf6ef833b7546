/* MT19937: values that its authors' program and torch give. */
#include "test.h"

#include "core/mt19937.h"

TEST(mt19937_with_seed_42_yields_the_known_ten_values)
{
    static const uint32_t known[] = {1608637542, 3421126067, 4083286876, 787846414,
                                     3143890026, 3348747335, 2571218620, 2563451924,
                                     670094950,  1914837113};
    struct ucb_mt19937 r;
    ucb_mt19937_seed(&r, 42);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        CHECK_EQ(ucb_mt19937_next(&r), known[i]);
}

TEST(mt19937_with_the_default_seed_yields_the_ten_thousandth_value_of_the_cpp_standard)
{
    struct ucb_mt19937 r;
    ucb_mt19937_seed(&r, 5489);
    for (int i = 1; i < 10000; i++) ucb_mt19937_next(&r);
    CHECK_EQ(ucb_mt19937_next(&r), 4123659995u);
}
