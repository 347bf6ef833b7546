/* Labels of a chart: none covers another, a point, or leaves the frame; the same input
 * gives the same places. */
#include "test.h"

#include <math.h>
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
    size_t n_dropped = 0;
    ucb_arena_init(&arena);
    for (int round = 0; round < 20; round++) {
        scatter(labels, bars, ucb_test_path("round %d", round));
        place(labels, bars, &arena);
        for (size_t i = 0; i < N_LABELS; i++) {
            const struct ucb_label *a = &labels[i];
            n_dropped += a->dropped;
            if (a->dropped) continue;
            CHECK_NEAR(ucb_box_overlap(&a->box, &frame), a->width * a->height,
                       1e-4); /* rounding of a few sums */
            for (size_t k = 0; k < N_LABELS; k++) {
                struct ucb_box mark = {labels[k].x - MARK, labels[k].y - MARK,
                                       labels[k].x + MARK, labels[k].y + MARK};
                if (k != i && !labels[k].dropped)
                    CHECK_NEAR(ucb_box_overlap(&a->box, &labels[k].box), 0, 1e-5);
                CHECK_NEAR(ucb_box_overlap(&a->box, &mark), 0, 1e-5);
                CHECK_NEAR(ucb_box_overlap(&a->box, &bars[k]), 0, 1e-5);
            }
        }
    }
    CHECK(n_dropped <= 20 * N_LABELS / 50); /* marks upon each other */
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

/* ---- crowds: what does not fit is dropped, and nothing that is left collides ---- */

enum { CROWD = 40 };

static void leader_of(const struct ucb_label *label, double *x, double *y)
{
    *x = fmin(fmax(label->x, label->box.left), label->box.right);
    *y = fmin(fmax(label->y, label->box.bottom), label->box.top);
}

static double turn(double ax, double ay, double bx, double by, double x, double y)
{
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax);
}

static bool cross(const struct ucb_label *a, const struct ucb_label *b)
{
    double ax, ay, bx, by;
    leader_of(a, &ax, &ay);
    leader_of(b, &bx, &by);
    return turn(a->x, a->y, ax, ay, b->x, b->y) * turn(a->x, a->y, ax, ay, bx, by) < 0 &&
           turn(b->x, b->y, bx, by, a->x, a->y) * turn(b->x, b->y, bx, by, ax, ay) < 0;
}

static double leader_length(const struct ucb_label *a)
{
    double x, y;
    leader_of(a, &x, &y);
    return hypot(x - a->x, y - a->y);
}

/* How much of a leader lies in the inside of a box, looked at in 500 steps. */
static double length_inside(const struct ucb_label *a, struct ucb_box box)
{
    double x, y;
    int n = 0;
    leader_of(a, &x, &y);
    for (int k = 1; k < 500; k++) {
        double px = a->x + (x - a->x) * k / 500, py = a->y + (y - a->y) * k / 500;
        n += px > box.left && px < box.right && py > box.bottom && py < box.top;
    }
    return leader_length(a) * n / 500;
}

static bool passes(const struct ucb_label *a, struct ucb_box box)
{
    return length_inside(a, box) > 0;
}

/* With bars that reach `bar` up and down. */
static void scatter_crowd(struct ucb_label *labels, struct ucb_box *bars, int round,
                          double bar)
{
    struct ucb_pcg r;
    ucb_pcg_named(&r, 11, ucb_test_path("crowd %d", round));
    for (size_t i = 0; i < CROWD; i++) {
        double x = 6 + 200 * (double)ucb_pcg_unit(&r),
               y = 6 + 170 * (double)ucb_pcg_unit(&r);
        labels[i] = (struct ucb_label){.x = x,
                                       .y = y,
                                       .width = 25 + 60 * (double)ucb_pcg_unit(&r),
                                       .height = 7,
                                       .importance = (int)ucb_pcg_below(&r, 4)};
        bars[i] = (struct ucb_box){x - 0.5, y - bar, x + 0.5, y + bar};
    }
}

static void check_apart(const struct ucb_label *a, const struct ucb_label *b)
{
    struct ucb_box mark = {b->x - MARK, b->y - MARK, b->x + MARK, b->y + MARK};
    double apart = fmax(fabs(a->x - b->x), fabs(a->y - b->y));
    CHECK_NEAR(ucb_box_overlap(&a->box, &mark), 0, 1e-5);
    if (a->leader && apart > 2 * MARK) CHECK(!passes(a, mark));
    if (b->dropped) return;
    CHECK_NEAR(ucb_box_overlap(&a->box, &b->box), 0, 1e-5);
    if (a->leader) CHECK(!passes(a, b->box));
    if (a->leader && b->leader) CHECK(!cross(a, b));
}

TEST(in_a_crowd_labels_are_dropped_until_nothing_collides)
{
    struct ucb_arena arena;
    struct ucb_err err;
    size_t n_kept = 0, n_kept_important = 0, n_important = 0;
    ucb_arena_init(&arena);
    for (int round = 0; round < 12; round++) {
        struct ucb_label labels[CROWD];
        struct ucb_box bars[CROWD];
        scatter_crowd(labels, bars, round, 8);
        CHECK_OK(ucb_labels_place(labels, CROWD, bars, CROWD, frame, MARK, 1, &arena, &err),
                 err);
        for (size_t i = 0; i < CROWD; i++) {
            const struct ucb_label *a = &labels[i];
            n_important += a->importance == 3;
            if (a->dropped) continue;
            n_kept++;
            n_kept_important += a->importance == 3;
            CHECK_NEAR(ucb_box_overlap(&a->box, &frame), a->width * a->height, 1e-4);
            CHECK(leader_length(a) <= 20 * MARK);
            for (size_t k = 0; k < CROWD; k++) {
                CHECK_NEAR(ucb_box_overlap(&a->box, &bars[k]), 0, 1e-5);
                if (k != i) check_apart(a, &labels[k]);
            }
        }
    }
    CHECK(n_kept > 12 * CROWD / 4);
    /* Of the most important, a larger share than of all stays. */
    CHECK(n_kept_important * 12 * CROWD > n_kept * n_important);
    ucb_arena_free(&arena);
}

/* Within half a mark of a bar for more than three marks it would look like a part of it. */
TEST(no_leader_runs_along_a_bar)
{
    struct ucb_arena arena;
    struct ucb_err err;
    size_t n_leaders = 0;
    ucb_arena_init(&arena);
    for (int round = 0; round < 3; round++) {
        struct ucb_label labels[CROWD];
        struct ucb_box bars[CROWD];
        scatter_crowd(labels, bars, round, 25);
        CHECK_OK(ucb_labels_place(labels, CROWD, bars, CROWD, frame, MARK, 1, &arena, &err),
                 err);
        for (size_t i = 0; i < CROWD; i++) {
            n_leaders += labels[i].leader;
            for (size_t k = 0; k < CROWD && labels[i].leader; k++) {
                const struct ucb_box around = {bars[k].left - 1.5, bars[k].bottom - 1.5,
                                               bars[k].right + 1.5, bars[k].top + 1.5};
                CHECK(length_inside(&labels[i], around) <= 3 * MARK);
            }
        }
    }
    CHECK(n_leaders > 10);
    ucb_arena_free(&arena);
}

/* ---- a few points, worked out by hand ---- */

static void place_few(struct ucb_label *labels, size_t n, const struct ucb_box *lines,
                      size_t n_lines, struct ucb_box panel)
{
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    CHECK_OK(ucb_labels_place(labels, n, lines, n_lines, panel, MARK, 1, &arena, &err),
             err);
    ucb_arena_free(&arena);
}

TEST(a_lonely_label_stands_right_of_its_point_without_a_leader)
{
    struct ucb_label label = {.x = 50, .y = 50, .width = 30, .height = 7};
    place_few(&label, 1, NULL, 0, frame);
    CHECK_NEAR(label.box.left, 54.5, 1e-9); /* 50 + 1.5 marks */
    CHECK_NEAR((label.box.bottom + label.box.top) / 2, 50, 1e-9);
    CHECK(!label.leader);
}

/* Right of its point the name would stand 4.5 from it and 7.5 from the other. */
TEST(a_name_without_a_leader_is_not_nearly_as_near_to_another_point)
{
    struct ucb_label labels[2] = {{.x = 50, .y = 50, .width = 30, .height = 7},
                                  {.x = 92, .y = 50, .dropped = true}};
    place_few(labels, 2, NULL, 0, frame);
    CHECK(!labels[0].leader && labels[0].box.right <= 50);
    labels[1].x = 95;
    place_few(labels, 2, NULL, 0, frame);
    CHECK_NEAR(labels[0].box.left, 54.5, 1e-9);
}

/* The block leaves no place near the point; a name beyond it has a leader. */
TEST(a_leader_goes_where_it_crosses_fewer_lines)
{
    static const struct ucb_box lines[] = {{94, 94, 106, 106}, {108.5, 97, 109.5, 103}};
    struct ucb_label label = {.x = 100, .y = 100, .width = 30, .height = 7};
    place_few(&label, 1, lines, 1, frame);
    CHECK(label.leader && label.box.left > 106);
    place_few(&label, 1, lines, 2, frame);
    CHECK(label.leader && label.box.right < 94);
}

/* Only the strip from 182 to 190 is free. The corner above the point would end at 192.5. */
TEST(a_place_that_would_leave_the_frame_is_moved_into_it)
{
    static const struct ucb_box lines[] = {{0, 0, 220, 180}, {0, 180, 220, 182}};
    struct ucb_label label = {.x = 100, .y = 181, .width = 30, .height = 7};
    place_few(&label, 1, lines, 2, frame);
    CHECK(!label.dropped && !label.leader);
    CHECK_NEAR(label.box.left, 104.5, 1e-9);
    CHECK_NEAR(label.box.top, 190, 1e-9);
}

/* Between the marks there is room for one name, which either would take. */
TEST(the_only_room_goes_to_the_more_important_name)
{
    for (size_t important = 0; important < 2; important++) {
        struct ucb_label labels[2] = {{.x = 10, .y = 5, .width = 40, .height = 7},
                                      {.x = 60, .y = 5, .width = 40, .height = 7}};
        labels[important].importance = 1;
        place_few(labels, 2, NULL, 0, (struct ucb_box){0, 0, 70, 10});
        CHECK(!labels[important].dropped && labels[1 - important].dropped);
    }
}

TEST(a_point_without_a_text_keeps_others_off)
{
    struct ucb_label labels[2] = {{.x = 50, .y = 50, .width = 30, .height = 7},
                                  {.x = 62, .y = 50, .dropped = true}};
    place_few(labels, 2, NULL, 0, frame);
    CHECK(!labels[0].dropped && labels[1].dropped && !labels[1].leader);
    CHECK(labels[0].box.right <= 50); /* right of it the other point is in the way */
}

TEST(where_nothing_fits_all_labels_are_dropped)
{
    struct ucb_label labels[N_LABELS];
    struct ucb_box bars[N_LABELS], small = {0, 0, 40, 20};
    struct ucb_arena arena;
    struct ucb_err err;
    ucb_arena_init(&arena);
    scatter(labels, bars, "full");
    for (size_t i = 0; i < N_LABELS; i++) labels[i].width = 50;
    CHECK_OK(ucb_labels_place(labels, N_LABELS, NULL, 0, small, MARK, 1, &arena, &err),
             err);
    for (size_t i = 0; i < N_LABELS; i++) CHECK(labels[i].dropped);
    CHECK_OK(ucb_labels_place(labels, 0, NULL, 0, small, MARK, 1, &arena, &err), err);
    ucb_arena_free(&arena);
}
