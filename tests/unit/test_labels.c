/* Labels of a chart: none covers another, a point, or leaves the frame; the same input
 * gives the same places. */
#include "test.h"

#include <string.h>

#include "core/pcg.h"
#include "report/labels.h"

enum { N_LABELS = 14, MARK = 3 };
static const struct ucb_box frame = {0, 0, 220,
                                     190}; /* a panel of a two-column figure, in points */

static void scatter(struct ucb_label *labels, struct ucb_box *bars, const char *name)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 7, name);
    for (size_t i = 0; i < N_LABELS; i++) {
        double x = 10 + 200 * (double)ucb_pcg_unit(&r),
               y = 10 + 170 * (double)ucb_pcg_unit(&r);
        labels[i] = (struct ucb_label){
            .x = x, .y = y, .width = 20 + 50 * (double)ucb_pcg_unit(&r), .height = 7};
        bars[i] = (struct ucb_box){x - 0.5, y - 8, x + 0.5, y + 8};
    }
}

static void place(struct ucb_label *labels, const struct ucb_box *bars,
                  struct ucb_arena *arena)
{
    struct ucb_err err;
    CHECK_OK(
        ucb_labels_place(labels, N_LABELS, bars, N_LABELS, frame, MARK, 1, arena, &err),
        err);
}

TEST(labels_of_random_points_cover_nothing_and_stay_inside)
{
    struct ucb_label labels[N_LABELS];
    struct ucb_box bars[N_LABELS];
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    for (int round = 0; round < 20; round++) {
        scatter(labels, bars, ucb_test_path("round %d", round));
        place(labels, bars, &arena);
        for (size_t i = 0; i < N_LABELS; i++) {
            const struct ucb_label *a = &labels[i];
            CHECK_NEAR(ucb_box_overlap(&a->box, &frame), a->width * a->height,
                       1e-6); /* rounding of a few sums */
            for (size_t k = 0; k < N_LABELS; k++) {
                struct ucb_box mark = {labels[k].x - MARK, labels[k].y - MARK,
                                       labels[k].x + MARK, labels[k].y + MARK};
                if (k != i) CHECK_NEAR(ucb_box_overlap(&a->box, &labels[k].box), 0, 1e-6);
                CHECK_NEAR(ucb_box_overlap(&a->box, &mark), 0, 1e-6);
                CHECK_NEAR(ucb_box_overlap(&a->box, &bars[k]), 0, 1e-6);
            }
        }
    }
    ucb_arena_free(&arena);
}

TEST(a_lonely_label_stands_right_of_its_point_without_a_leader)
{
    struct ucb_label label = {.x = 50, .y = 50, .width = 30, .height = 7};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_labels_place(&label, 1, NULL, 0, frame, MARK, 1, &arena, &err), err);
    CHECK_NEAR(label.box.left, 54.5, 1e-9); /* 50 + 1.5 marks */
    CHECK_NEAR((label.box.bottom + label.box.top) / 2, 50, 1e-9);
    CHECK(!label.leader);
    ucb_arena_free(&arena);
}

TEST(labels_are_placed_the_same_every_time)
{
    struct ucb_label one[N_LABELS], two[N_LABELS];
    struct ucb_box bars[N_LABELS];
    struct ucb_arena arena;
    ucb_arena_init(&arena);
    scatter(one, bars, "same");
    memcpy(two, one, sizeof(one));
    place(one, bars, &arena);
    place(two, bars, &arena);
    for (size_t i = 0; i < N_LABELS; i++)
        CHECK(memcmp(&one[i].box, &two[i].box, sizeof(one[i].box)) == 0);
    ucb_arena_free(&arena);
}

TEST(more_labels_than_fit_are_placed_all_the_same)
{
    struct ucb_label labels[N_LABELS];
    struct ucb_box bars[N_LABELS], small = {0, 0, 40, 20};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    scatter(labels, bars, "full");
    CHECK_OK(ucb_labels_place(labels, N_LABELS, NULL, 0, small, MARK, 1, &arena, &err),
             err);
    CHECK_OK(ucb_labels_place(labels, 0, NULL, 0, small, MARK, 1, &arena, &err), err);
    ucb_arena_free(&arena);
}
