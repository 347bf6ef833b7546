/* Counters of energy, as Linux's powercap shows them. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/energy.h"

static void put(const char *package, const char *name, const char *text)
{
    const char *folder = ucb_test_path("%s/%s", ucb_test_folder(), package);
    mkdir(folder, 0755);
    FILE *file = fopen(ucb_test_path("%s/%s", folder, name), "w");
    CHECK(file != NULL);
    fprintf(file, "%s\n", text);
    fclose(file);
}

TEST(energy_is_the_sum_of_the_packages_and_counters_run_over)
{
    struct ucb_energy e;
    put("intel-rapl:0", "energy_uj", "1000000");
    put("intel-rapl:0", "max_energy_range_uj", "262143328850");
    put("intel-rapl:1", "energy_uj", "262143328000");
    put("intel-rapl:1", "max_energy_range_uj", "262143328850");
    put("intel-rapl:0:0", "energy_uj", "500"); /* a part of package 0 */
    CHECK(ucb_energy_open(ucb_test_folder(), &e));
    CHECK_EQ(e.n_packages, 2);
    CHECK_NEAR(ucb_energy_joules(&e), 0, 0);
    put("intel-rapl:0", "energy_uj", "3500000");
    put("intel-rapl:1", "energy_uj", "999150"); /* 850 to the end, 999150 behind it */
    CHECK_NEAR(ucb_energy_joules(&e), 3.5, 1e-12);
    put("intel-rapl:0", "energy_uj", "3600000");
    CHECK_NEAR(ucb_energy_joules(&e), 3.6, 1e-12);
}

TEST(energy_is_absent_where_no_counter_can_be_read)
{
    struct ucb_energy e;
    CHECK(!ucb_energy_open(ucb_test_folder(), &e));
    put("intel-rapl:0", "energy_uj", "no number");
    CHECK(!ucb_energy_open(ucb_test_folder(), &e));
    put("intel-rapl:0", "energy_uj", "7");
    CHECK(ucb_energy_open(ucb_test_folder(), &e));
    CHECK(remove(ucb_test_path("%s/intel-rapl:0/energy_uj", ucb_test_folder())) == 0);
    CHECK(isnan(ucb_energy_joules(&e)));
}
