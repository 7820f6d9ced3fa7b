/* Whole clusters in a virtual world. A failing test prints its seed; CX_SEED=N replays it. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gossip_world.h"

#define KEYRING "[\"NUDi22rkoCPAR6/+UegZ+jSUFHKCAsr/PieKBk+sb2o=\"]"

#define must(world, condition)                                                                 \
    do {                                                                                       \
        if (!(condition))                                                                      \
            fail_msg("%s (CX_SEED=%" PRIu64 ", at %" PRId64 " ms)", #condition, (world)->seed, \
                     (world)->now_us / 1000);                                                  \
    } while (0)

static size_t count_of(struct world *world, size_t at, cx_gossip_status_word status)
{
    size_t count = 0, found = 0;
    const cx_gossip_member *members = cx_gossip_members(world->cores[at], &count);

    for (size_t i = 0; i < count; i++)
        found += members[i].status == status;
    return found;
}

/* Counts the notices of one kind, by whom they are about. */
struct tally {
    size_t by_kind[CX_GOSSIP_PARTITION_CHANGED + 1];
    size_t failed[WORLD_NODES_MAX];
    size_t events;
};

static void tally(void *watcher, size_t at, const cx_gossip_notice *notice)
{
    struct tally *count = watcher;
    size_t node = 0;

    (void)at;
    count->by_kind[notice->kind]++;
    if (notice->kind == CX_GOSSIP_MEMBER_FAILED &&
        sscanf(notice->member.name, "node-%zu", &node) == 1)
        count->failed[node]++;
}

static bool all_see_the_last_one_failed(struct world *world)
{
    for (size_t i = 0; i + 1 < world->count; i++)
        if (!world_sees(world, i, world->count - 1, CX_GOSSIP_FAILED))
            return false;
    return true;
}

static bool all_see_the_last_one_left(struct world *world)
{
    for (size_t i = 0; i + 1 < world->count; i++)
        if (!world_sees(world, i, world->count - 1, CX_GOSSIP_LEFT_CLUSTER))
            return false;
    return true;
}

static void a_cluster_comes_together(void **state)
{
    static const struct {
        const char *name;
        size_t count;
        unsigned loss_percent;
        const char *keyring;
        bool compress;
        int64_t within_ms;
    } rows[] = {
        {"two", 2, 0, NULL, false, 5000},
        {"five", 5, 0, NULL, false, 5000},
        {"five, encrypted", 5, 0, KEYRING, false, 5000},
        {"five, encrypted and compressed", 5, 0, KEYRING, true, 5000},
        {"twenty", 20, 0, NULL, false, 5000},
        {"twenty, a tenth of all packets lost", 20, 10, NULL, true, 15000},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(world_free) struct world *world = world_new(rows[i].count, 100 + i);

        world->loss_percent = rows[i].loss_percent;
        world->keyring = rows[i].keyring;
        world->compress = rows[i].compress;
        world_start_all(world);
        if (!world_wait(world, rows[i].within_ms, world_agrees))
            fail_msg("%s: no agreement (CX_SEED=%" PRIu64 ")", rows[i].name, world->seed);
        for (size_t j = 1; j < world->count; j++)
            must(world, world->answered[j] == j && world->joined[j] == 1);
    }
}

static void tags_arrive_and_change(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(3, 2);
    const cx_gossip_tag set[] = {{"version", "2.0"}};
    const char *const unset[] = {"number"};
    const cx_gossip_member *member;

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    member = cx_gossip_find(world->cores[2], "node-1");
    must(world, member->tag_count == 2 && strcmp(member->tags[0].key, "number") == 0 &&
                    strcmp(member->tags[0].value, "1") == 0);

    world_input(world, 1,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_TAGS,
                                   .set = set,
                                   .set_count = 1,
                                   .unset = unset,
                                   .unset_count = 1,
                                   .ticket = 9});
    must(world, world->answered[1] == 9 && world->changed[1]);
    must(world, world_wait(world, 8000, world_agrees));
    member = cx_gossip_find(world->cores[2], "node-1");
    must(world, member->tag_count == 2 && strcmp(member->tags[1].key, "version") == 0 &&
                    member->incarnation == 2);
}

static void a_killed_node_is_seen_by_all_and_nobody_else_is_accused(void **state)
{
    static const struct {
        size_t count;
        unsigned loss_percent;
        int64_t within_ms;
    } rows[] = {{3, 0, 16000}, {5, 0, 16000}, {5, 5, 25000}, {20, 0, 20000}, {20, 5, 35000}};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(world_free) struct world *world = world_new(rows[i].count, 200 + i);
        struct tally count = {0};

        world->loss_percent = rows[i].loss_percent;
        world_start_all(world);
        must(world, world_wait(world, 20000, world_agrees));
        world->watcher = &count;
        world->on_notice = tally;
        world_kill(world, world->count - 1);
        must(world, world_wait(world, rows[i].within_ms, all_see_the_last_one_failed));
        world_run(world, 30000);
        for (size_t j = 0; j + 1 < world->count; j++)
            must(world, count.failed[j] == 0);
        must(world, count.failed[world->count - 1] == world->count - 1);
        must(world, world_agrees(world));
    }
}

static void a_killed_node_comes_back_with_a_higher_incarnation(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(5, 3);
    uint32_t before;

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world_run(world, 1000); /* the state is saved */
    before = cx_gossip_find(world->cores[0], "node-4")->incarnation;
    world_kill(world, 4);
    must(world, world_wait(world, 16000, all_see_the_last_one_failed));
    /* It joins nobody: the saved state knows the others. */
    world_start(world, 4);
    must(world, world_wait(world, 8000, world_agrees));
    must(world, cx_gossip_find(world->cores[0], "node-4")->incarnation > before);
}

static void a_node_without_its_state_comes_back_too(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(5, 4);

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world_kill(world, 4);
    must(world, world_wait(world, 16000, all_see_the_last_one_failed));
    cx_buffer_clear(&world->state[4]);
    world_start(world, 4);
    world_join(world, 4, 1, 77);
    must(world, world_wait(world, 8000, world_agrees));
}

/* As SIGSTOP and SIGCONT do it. */
static void a_paused_node_refutes_and_accuses_nobody(void **state)
{
    static const int64_t pauses_ms[] = {2000, 20000, 50000};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(pauses_ms); i++) {
        CX_AUTO(world_free) struct world *world = world_new(5, 300 + i);
        struct tally count = {0};

        world_start_all(world);
        must(world, world_wait(world, 8000, world_agrees));
        world->watcher = &count;
        world->on_notice = tally;
        world->paused[4] = true;
        world_run(world, pauses_ms[i]);
        must(world, pauses_ms[i] < 10000 || all_see_the_last_one_failed(world));
        world->paused[4] = false;
        must(world, world_wait(world, 15000, world_agrees));
        world_run(world, 20000);
        must(world, world_agrees(world));
        for (size_t j = 0; j < 4; j++)
            must(world, count.failed[j] == 0);
        /* Two seconds are not enough to be declared dead. */
        must(world, pauses_ms[i] > 2000 || count.failed[4] == 0);
        must(world,
             pauses_ms[i] == 2000 || cx_gossip_find(world->cores[0], "node-4")->incarnation > 1);
    }
}

static void a_leaving_node_shows_as_left_not_as_failed(void **state)
{
    static const size_t counts[] = {2, 5, 20};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(counts); i++) {
        CX_AUTO(world_free) struct world *world = world_new(counts[i], 400 + i);
        struct tally count = {0};
        size_t last = counts[i] - 1;

        world_start_all(world);
        must(world, world_wait(world, 8000, world_agrees));
        world->watcher = &count;
        world->on_notice = tally;
        world_input(world, last, &(cx_gossip_event){.kind = CX_GOSSIP_ON_LEAVE, .ticket = 5});
        world_run(world, 12000);
        must(world, world->has_left[last] && world->answered[last] == 5);
        must(world, world->answer[last].code == CX_OK);
        world_kill(world, last);
        must(world, all_see_the_last_one_left(world));
        world_run(world, 60000);
        must(world, all_see_the_last_one_left(world));
        must(world, count.by_kind[CX_GOSSIP_MEMBER_FAILED] == 0);
        must(world, count.by_kind[CX_GOSSIP_MEMBER_LEFT] == counts[i]);
    }
}

static void who_left_may_come_back(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(3, 5);

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world_input(world, 2, &(cx_gossip_event){.kind = CX_GOSSIP_ON_LEAVE, .ticket = 5});
    world_run(world, 8000);
    must(world, world->has_left[2] && all_see_the_last_one_left(world));
    world_start(world, 2);
    world_run(world, 3000);
    must(world, count_of(world, 2, CX_GOSSIP_ALIVE) == 1); /* it forgot whom it left */
    world_join(world, 2, 0, 6);
    must(world, world_wait(world, 8000, world_agrees));
}

static void leaving_alone_takes_no_time(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(1, 6);

    (void)state;
    world_start_all(world);
    world_input(world, 0, &(cx_gossip_event){.kind = CX_GOSSIP_ON_LEAVE, .ticket = 5});
    must(world, world->has_left[0] && world->answered[0] == 5);
    world_input(world, 0, &(cx_gossip_event){.kind = CX_GOSSIP_ON_REJOIN, .ticket = 6});
    must(world, world->answered[0] == 6 && world->answer[0].code == CX_UNAVAILABLE);
}

static bool halves_have_lost_each_other(struct world *world)
{
    for (size_t i = 0; i < world->count; i++)
        for (size_t j = 0; j < world->count; j++)
            if (world->group[i] != world->group[j] && !world_sees(world, i, j, CX_GOSSIP_FAILED))
                return false;
    return true;
}

static void a_partition_has_a_majority_and_heals(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(5, 7);

    (void)state;
    world->expected = 5;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    must(world, cx_gossip_look(world->cores[0]).partition == CX_GOSSIP_MAJORITY);
    world->group[3] = world->group[4] = 1;
    must(world, world_wait(world, 60000, halves_have_lost_each_other));
    must(world, cx_gossip_look(world->cores[0]).partition == CX_GOSSIP_MAJORITY);
    must(world, cx_gossip_look(world->cores[3]).partition == CX_GOSSIP_MINORITY);
    world->group[4] = 2;
    world_run(world, 60000);
    must(world, cx_gossip_look(world->cores[4]).partition == CX_GOSSIP_ISOLATED);

    world->group[3] = world->group[4] = 0;
    must(world, world_wait(world, 90000, world_agrees));
    for (size_t i = 0; i < 5; i++)
        must(world, cx_gossip_look(world->cores[i]).partition == CX_GOSSIP_MAJORITY);
}

static void rejoin_heals_at_once(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(4, 8);

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world->group[2] = world->group[3] = 1;
    must(world, world_wait(world, 60000, halves_have_lost_each_other));
    world_run(world, 60000); /* memberlist has forgotten the dead, Serf has not */
    world->group[2] = world->group[3] = 0;
    world_input(world, 0, &(cx_gossip_event){.kind = CX_GOSSIP_ON_REJOIN, .ticket = 3});
    must(world, world_wait(world, 4000, world_agrees));
    must(world, world->answered[0] == 3 && world->joined[0] >= 2);
}

static void a_failed_node_can_be_removed(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(4, 9);

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world_input(world, 0,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_REMOVE, .node = "node-3", .ticket = 1});
    must(world, world->answer[0].code == CX_BUSY);
    world_input(world, 0,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_REMOVE, .node = "node-9", .ticket = 2});
    must(world, world->answer[0].code == CX_NOT_FOUND);
    world_kill(world, 3);
    must(world, world_wait(world, 16000, all_see_the_last_one_failed));
    world_input(world, 0,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_REMOVE, .node = "node-3", .ticket = 3});
    must(world, world->answer[0].code == CX_OK && world->changed[0]);
    must(world, world_wait(world, 3000, all_see_the_last_one_left));
    world_input(world, 1,
                &(cx_gossip_event){
                    .kind = CX_GOSSIP_ON_REMOVE, .node = "node-3", .prune = true, .ticket = 4});
    must(world, world->answer[1].code == CX_OK && world->changed[1]);
    world_run(world, 3000);
    for (size_t i = 0; i < 3; i++)
        must(world, cx_gossip_find(world->cores[i], "node-3") == NULL);
}

static void accusations_are_kept(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(5, 10);
    const cx_gossip_accusation *accusations;
    size_t count = 0, confirmers = 0, by_probe = 0;

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world_kill(world, 4);
    must(world, world_wait(world, 16000, all_see_the_last_one_failed));
    for (size_t i = 0; i < 4; i++) {
        accusations = cx_gossip_accusations(world->cores[i], "node-4", &count);
        must(world, count >= 1);
        must(world, accusations[count - 1].verdict == CX_GOSSIP_CONVICTED);
        must(world, accusations[count - 1].by[0] != '\0');
        must(world, accusations[count - 1].convicted_by[0] != '\0');
        confirmers += accusations[count - 1].confirmer_count;
        if (accusations[count - 1].source == CX_GOSSIP_BY_PROBE) {
            by_probe++;
            must(world, accusations[count - 1].probe.helper_count == 3);
            must(world, accusations[count - 1].probe.stream_tried);
        }
    }
    must(world, by_probe >= 1 && confirmers >= 1);
    must(world, cx_gossip_accusations(world->cores[0], "node-1", &count) == NULL && count == 0);
}

static void a_ping_tells_the_round_trip(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(3, 11);

    (void)state;
    world_start_all(world);
    must(world, world_wait(world, 8000, world_agrees));
    world_input(world, 0,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_PING, .node = "node-2", .ticket = 21});
    world_run(world, 100);
    must(world, world->answered[0] == 21 && world->answer[0].code == CX_OK);
    must(world, world->rtt_us[0] >= 200 && world->rtt_us[0] < 4100);
    world_run(world, 20000);
    must(world, cx_gossip_find(world->cores[0], "node-1")->rtt_ms > 0.1 &&
                    cx_gossip_find(world->cores[0], "node-1")->rtt_ms < 5);
    world_kill(world, 2);
    world_input(world, 0,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_PING, .node = "node-2", .ticket = 22});
    world_run(world, 1500);
    must(world, world->answered[0] == 22 && world->answer[0].code == CX_TIMEOUT);
}

static void count_event(void *watcher, size_t at, const cx_gossip_notice *notice)
{
    size_t *counts = watcher;

    if (notice->kind == CX_GOSSIP_USER_EVENT && strcmp(notice->name, "deploy") == 0 &&
        cx_bytes_equal(notice->payload, cx_bytes_of("v1.2")))
        counts[at]++;
}

static void a_user_event_arrives_once_everywhere(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(10, 12);
    size_t counts[WORLD_NODES_MAX] = {0};

    (void)state;
    world->loss_percent = 5;
    world_start_all(world);
    must(world, world_wait(world, 10000, world_agrees));
    world->watcher = counts;
    world->on_notice = count_event;
    world_input(world, 3,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_USER_EVENT,
                                   .name = "deploy",
                                   .bytes = cx_bytes_of("v1.2"),
                                   .ticket = 1});
    /* Gossip brings it to nearly all, push/pull to the rest. */
    world_run(world, 70000);
    for (size_t i = 0; i < 10; i++)
        must(world, counts[i] == 1);
}

static void without_the_key_nobody_joins(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(3, 13);

    (void)state;
    world->keyring = KEYRING;
    world_start(world, 0);
    world_start(world, 1);
    world_join(world, 1, 0, 1);
    world->keyring = NULL;
    world_start(world, 2);
    world_join(world, 2, 0, 2);
    world_run(world, 5000);
    must(world, world->joined[1] == 1);
    must(world, world->answered[2] == 2 && world->answer[2].code == CX_PROTOCOL);
    must(world, count_of(world, 2, CX_GOSSIP_ALIVE) == 1);
    must(world, count_of(world, 0, CX_GOSSIP_ALIVE) == 2);
}

static void joining_nobody_fails_and_says_so(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(3, 14);
    cx_gossip_addr addrs[] = {world_addr(1), world_addr(2)};

    (void)state;
    world_start(world, 0);
    world_input(world, 0,
                &(cx_gossip_event){
                    .kind = CX_GOSSIP_ON_JOIN, .addrs = addrs, .addr_count = 2, .ticket = 1});
    world_run(world, 1000);
    must(world, world->answered[0] == 1 && world->answer[0].code == CX_UNAVAILABLE);
    world->group[0] = 1; /* behind a cut cable it takes the deadline */
    world_start(world, 1);
    world_join(world, 0, 1, 2);
    world_run(world, 11000);
    must(world, world->answered[0] == 2 && world->answer[0].code == CX_TIMEOUT);
    world_input(world, 0, &(cx_gossip_event){.kind = CX_GOSSIP_ON_REJOIN, .ticket = 3});
    must(world, world->answered[0] == 3 && world->answer[0].code == CX_NOT_FOUND);
}

static void the_same_seed_gives_the_same_history(void **state)
{
    uint64_t sent[2], bytes[2];
    char digests[2][CX_GOSSIP_DIGEST_SIZE];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        CX_AUTO(world_free) struct world *world = world_new(10, 15);

        world->loss_percent = 10;
        world->keyring = KEYRING;
        world_start_all(world);
        world_run(world, 20000);
        world_kill(world, 9);
        world_run(world, 20000);
        sent[i] = world->sent;
        bytes[i] = world->sent_bytes;
        memcpy(digests[i], cx_gossip_look(world->cores[0]).digest, CX_GOSSIP_DIGEST_SIZE);
    }
    assert_int_equal(sent[0], sent[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_string_equal(digests[0], digests[1]);
}

static void nobody_is_accused_in_a_healthy_cluster(void **state)
{
    CX_AUTO(world_free) struct world *world = world_new(20, 16);
    struct tally count = {0};

    (void)state;
    world->watcher = &count;
    world->on_notice = tally;
    world_start_all(world);
    world_run(world, 300000);
    must(world, world_agrees(world));
    must(world, count.by_kind[CX_GOSSIP_MEMBER_SUSPECT] == 0);
    must(world, count.by_kind[CX_GOSSIP_MEMBER_FAILED] == 0);
    must(world, cx_gossip_look(world->cores[0]).refused == 0);
    must(world, cx_gossip_look(world->cores[0]).queued == 0);
    must(world, cx_gossip_look(world->cores[0]).health_score == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cluster_comes_together),
        cmocka_unit_test(tags_arrive_and_change),
        cmocka_unit_test(a_killed_node_is_seen_by_all_and_nobody_else_is_accused),
        cmocka_unit_test(a_killed_node_comes_back_with_a_higher_incarnation),
        cmocka_unit_test(a_node_without_its_state_comes_back_too),
        cmocka_unit_test(a_paused_node_refutes_and_accuses_nobody),
        cmocka_unit_test(a_leaving_node_shows_as_left_not_as_failed),
        cmocka_unit_test(who_left_may_come_back),
        cmocka_unit_test(leaving_alone_takes_no_time),
        cmocka_unit_test(a_partition_has_a_majority_and_heals),
        cmocka_unit_test(rejoin_heals_at_once),
        cmocka_unit_test(a_failed_node_can_be_removed),
        cmocka_unit_test(accusations_are_kept),
        cmocka_unit_test(a_ping_tells_the_round_trip),
        cmocka_unit_test(a_user_event_arrives_once_everywhere),
        cmocka_unit_test(without_the_key_nobody_joins),
        cmocka_unit_test(joining_nobody_fails_and_says_so),
        cmocka_unit_test(the_same_seed_gives_the_same_history),
        cmocka_unit_test(nobody_is_accused_in_a_healthy_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
