/* tools/node/placement: who hosts an agent with placement any, and what a node does about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "node/placement.h"

static cx_list list_of(const char *const *names, size_t count)
{
    cx_list list = {0};

    for (size_t i = 0; i < count; i++)
        cx_list_add(&list, names[i]);
    return list;
}

static void all_agree_and_a_loss_moves_only_what_the_lost_one_had(void **state)
{
    static const char *const all[] = {"node-1", "node-2", "node-3"};
    static const char *const turned[] = {"node-3", "node-1", "node-2"};
    static const char *const left[] = {"node-1", "node-3"};
    cx_list three = list_of(all, 3), other = list_of(turned, 3), two = list_of(left, 2);
    size_t had[3] = {0}, moved = 0;

    (void)state;
    for (int i = 0; i < 300; i++) {
        char *agent = cx_format("agent-%d", i);
        const char *owner = node_placement_owner(agent, &three);
        const char *after = node_placement_owner(agent, &two);

        assert_string_equal(owner, node_placement_owner(agent, &other));
        had[owner[5] - '1']++;
        if (strcmp(owner, "node-2") != 0)
            assert_string_equal(owner, after);
        else
            moved++;
        cx_free(&agent);
    }
    for (size_t i = 0; i < 3; i++)
        assert_in_range(had[i], 60, 140);
    assert_int_equal(moved, had[1]);
    cx_list_free(&three);
    cx_list_free(&other);
    cx_list_free(&two);
}

static void without_candidates_nobody_owns_it(void **state)
{
    cx_list none = {0};

    (void)state;
    assert_null(node_placement_owner("a", &none));
}

/* What holds mostly: a row names what is different. */
static node_facts usual(void)
{
    return (node_facts){.placed = true, .owned = true, .majority = true, .ready = true};
}

static void each_state_has_its_step(void **state)
{
    static const struct {
        const char *name;
        bool removed, foreign, ownerless, minority, unready;
        int lease, copy;
        node_placement_step step;
    } rows[] = {
        {.name = "the owner asks", .step = NODE_PLACE_CLAIM},
        {.name = "not before it knows what the others know", .unready = true},
        {.name = "not in a minority", .minority = true},
        {.name = "not what another owns", .foreign = true},
        {.name = "not when nobody can host", .foreign = true, .ownerless = true},
        {.name = "it waits for the lease", .lease = NODE_LEASE_ASKED},
        {.name = "with it, it starts", .lease = NODE_LEASE_HELD, .step = NODE_PLACE_START},
        {.name = "and runs", .lease = NODE_LEASE_HELD, .copy = NODE_COPY_RUNS},
        {.name = "another owns it now: it leaves",
         .foreign = true,
         .lease = NODE_LEASE_HELD,
         .copy = NODE_COPY_RUNS,
         .step = NODE_PLACE_LEAVE},
        {.name = "the lease is renewed while it leaves",
         .foreign = true,
         .lease = NODE_LEASE_HELD,
         .copy = NODE_COPY_LEAVING},
        {.name = "gone: the lease goes back",
         .foreign = true,
         .lease = NODE_LEASE_HELD,
         .step = NODE_PLACE_RELEASE},
        {.name = "nobody else can host: it stays",
         .foreign = true,
         .ownerless = true,
         .lease = NODE_LEASE_HELD,
         .copy = NODE_COPY_RUNS},
        {.name = "and is started again there",
         .foreign = true,
         .ownerless = true,
         .lease = NODE_LEASE_HELD,
         .step = NODE_PLACE_START},
        {.name = "a minority stops what runs",
         .minority = true,
         .lease = NODE_LEASE_HELD,
         .copy = NODE_COPY_RUNS,
         .step = NODE_PLACE_LEAVE},
        {.name = "also when nobody can host",
         .minority = true,
         .foreign = true,
         .ownerless = true,
         .lease = NODE_LEASE_HELD,
         .copy = NODE_COPY_RUNS,
         .step = NODE_PLACE_LEAVE},
        {.name = "the lease is lost: at once",
         .lease = NODE_LEASE_LOST,
         .copy = NODE_COPY_RUNS,
         .step = NODE_PLACE_END},
        {.name = "also while it leaves",
         .foreign = true,
         .lease = NODE_LEASE_LOST,
         .copy = NODE_COPY_LEAVING,
         .step = NODE_PLACE_END},
        {.name = "then begin anew", .lease = NODE_LEASE_LOST, .step = NODE_PLACE_RELEASE},
        {.name = "it never runs without a lease", .copy = NODE_COPY_RUNS, .step = NODE_PLACE_END},
        {.name = "nor while it asks for one",
         .lease = NODE_LEASE_ASKED,
         .copy = NODE_COPY_RUNS,
         .step = NODE_PLACE_END},
        {.name = "removed: gone with its queue",
         .removed = true,
         .lease = NODE_LEASE_HELD,
         .copy = NODE_COPY_RUNS,
         .step = NODE_PLACE_REMOVE},
        {.name = "removed while it asked",
         .removed = true,
         .lease = NODE_LEASE_ASKED,
         .step = NODE_PLACE_RELEASE},
        {.name = "removed and gone", .removed = true},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        node_facts now = usual();

        now.placed = !rows[i].removed;
        now.owned = !rows[i].foreign;
        now.ownerless = rows[i].ownerless;
        now.majority = !rows[i].minority;
        now.ready = !rows[i].unready;
        now.lease = (__typeof__(now.lease))rows[i].lease;
        now.copy = (__typeof__(now.copy))rows[i].copy;
        if (node_placement_next(&now) != rows[i].step)
            fail_msg("%s: step %d", rows[i].name, (int)node_placement_next(&now));
    }
}

static node_facts any_facts(cx_rng *rng)
{
    return (node_facts){
        .placed = cx_rng_below(rng, 2) != 0,
        .owned = cx_rng_below(rng, 2) != 0,
        .ownerless = cx_rng_below(rng, 2) != 0,
        .majority = cx_rng_below(rng, 2) != 0,
        .ready = cx_rng_below(rng, 2) != 0,
        .lease = (__typeof__(((node_facts *)0)->lease))cx_rng_below(rng, 4),
        .copy = (__typeof__(((node_facts *)0)->copy))cx_rng_below(rng, 3),
    };
}

static void whatever_happens_a_start_needs_the_lease_and_the_majority(void **state)
{
    cx_rng rng = cx_rng_seed(7);

    (void)state;
    for (int i = 0; i < 10000; i++) {
        node_facts now = any_facts(&rng);
        node_placement_step step = node_placement_next(&now);

        if (step == NODE_PLACE_START)
            assert_true(now.lease == NODE_LEASE_HELD && now.copy == NODE_COPY_NONE &&
                        now.majority && now.placed);
        if (step == NODE_PLACE_CLAIM)
            assert_true(now.ready && now.majority && now.placed && now.owned);
        if (step == NODE_PLACE_RELEASE) /* the process is gone before another may have it */
            assert_int_equal(now.copy, NODE_COPY_NONE);
        if (now.lease != NODE_LEASE_HELD && now.copy != NODE_COPY_NONE)
            assert_true(step == NODE_PLACE_END || step == NODE_PLACE_REMOVE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_agree_and_a_loss_moves_only_what_the_lost_one_had),
        cmocka_unit_test(without_candidates_nobody_owns_it),
        cmocka_unit_test(each_state_has_its_step),
        cmocka_unit_test(whatever_happens_a_start_needs_the_lease_and_the_majority),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
