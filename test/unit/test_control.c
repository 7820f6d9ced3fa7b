#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/time.h"
#include "gossip/control.h"

/* An agent that takes one connection, reads one request, sends what it is told, and hangs up, or not. */
struct agent {
    char folder[64];
    char path[96];
    int listener;
    const char *answer;
    size_t repeat; /* the answer so many times */
    bool keeps_open;
    int stop[2];
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct agent *agent = arg;
    int fd = accept(agent->listener, NULL, NULL);
    char request[4096], byte = 0;

    if (fd < 0)
        return NULL;
    if (read(fd, request, sizeof request) > 0)
        for (size_t i = 0; i < agent->repeat; i++)
            if (send(fd, agent->answer, strlen(agent->answer), MSG_NOSIGNAL) < 0)
                break;
    if (agent->keeps_open)
        (void)!read(agent->stop[0], &byte, 1);
    close(fd);
    return NULL;
}

static void start(struct agent *agent)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(agent->folder, sizeof agent->folder, "/tmp/cx-test-control-XXXXXX");
    assert_non_null(mkdtemp(agent->folder));
    snprintf(agent->path, sizeof agent->path, "%s/gossip.sock", agent->folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", agent->path);
    agent->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(agent->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(agent->listener, 4), 0);
    assert_int_equal(pipe(agent->stop), 0);
    assert_int_equal(pthread_create(&agent->thread, NULL, serve, agent), 0);
}

static void stop(struct agent *agent)
{
    close(agent->stop[1]);
    pthread_join(agent->thread, NULL);
    close(agent->stop[0]);
    close(agent->listener);
    unlink(agent->path);
    rmdir(agent->folder);
}

static bool ask(struct agent *agent, int64_t timeout_ms, json_t **answer, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *request = json_pack("{s:s}", "command", "members");

    return cx_control_once(agent->path, request, timeout_ms, answer, err);
}

static void each_answer_of_an_agent_has_its_outcome(void **state)
{
    static const struct {
        const char *name, *answer;
        size_t repeat;
        bool keeps_open;
        cx_code code;
    } rows[] = {
        {"a document", "{\"count\":3}\n", 1, true, CX_OK},
        {"an error", "{\"error\":{\"code\":\"busy\",\"message\":\"leaving\"}}\n", 1, true, CX_BUSY},
        {"no JSON", "hello\n", 1, true, CX_MALFORMED},
        {"nothing, and hangs up", "", 0, false, CX_UNAVAILABLE},
        {"half a line, and hangs up", "{\"count\":", 1, false, CX_UNAVAILABLE},
        {"nothing in time", "", 0, true, CX_TIMEOUT},
        {"half a line in time", "{\"count\":", 1, true, CX_TIMEOUT},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        struct agent agent = {
            .answer = rows[i].answer, .repeat = rows[i].repeat, .keeps_open = rows[i].keeps_open};
        CX_AUTO(cx_json_free) json_t *answer = NULL;
        cx_err err = {0};
        bool waits = rows[i].code == CX_TIMEOUT;

        start(&agent);
        bool done = ask(&agent, waits ? 50 : 5000, &answer, &err);

        stop(&agent);
        if (done != (rows[i].code == CX_OK) || err.code != rows[i].code)
            fail_msg("%s: %s (%s)", rows[i].name, cx_code_word(err.code), err.message);
    }
}

static void a_line_without_end_is_not_read_for_ever(void **state)
{
    struct agent agent = {.repeat = 4096, .keeps_open = true};
    CX_AUTO(cx_buffer_free) cx_buffer chunk = {0};
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    cx_err err = {0};

    (void)state;
    while (chunk.size < 4096)
        cx_buffer_add_text(&chunk, "xxxxxxxxxxxxxxxx");
    agent.answer = (const char *)chunk.data;
    start(&agent);

    assert_false(ask(&agent, 20000, &answer, &err));

    assert_int_equal(err.code, CX_TOO_LARGE);
    stop(&agent);
}

static void a_stream_is_read_line_by_line(void **state)
{
    struct agent agent = {.answer = "{\"ok\":true}\n{\"event\":\"a\"}\n{\"event\":\"b\"}\n",
                          .repeat = 1};
    CX_AUTO(cx_control_close) cx_control *control = NULL;
    CX_AUTO(cx_json_free) json_t *request = json_pack("{s:s}", "command", "monitor");
    CX_AUTO(cx_json_free) json_t *ok = NULL;
    CX_AUTO(cx_json_free) json_t *first = NULL;
    CX_AUTO(cx_json_free) json_t *second = NULL;
    CX_AUTO(cx_json_free) json_t *none = NULL;
    cx_err err = {0};

    (void)state;
    start(&agent);
    assert_true(cx_control_open(agent.path, 5000, &control, &err));
    assert_true(cx_control_ask(control, request, 5000, &ok, &err));
    assert_true(cx_control_next(control, 5000, &first, &err));
    assert_true(cx_control_next(control, 5000, &second, &err));
    assert_string_equal(cx_json_text_or_empty(first, "event"), "a");
    assert_string_equal(cx_json_text_or_empty(second, "event"), "b");

    assert_false(cx_control_next(control, 5000, &none, &err));
    assert_int_equal(err.code, CX_UNAVAILABLE);
    stop(&agent);
}

static void a_socket_that_nobody_serves_is_unavailable(void **state)
{
    CX_AUTO(cx_json_free) json_t *request = json_pack("{s:s}", "command", "members");
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    char long_path[200];
    cx_err err = {0};

    (void)state;
    assert_false(cx_control_once("/nowhere/gossip.sock", request, 1000, &answer, &err));
    assert_int_equal(err.code, CX_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/nowhere/gossip.sock"));
    assert_true(err.hint[0] != '\0');

    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    assert_false(cx_control_once(long_path, request, 1000, &answer, &err));
    assert_int_equal(err.code, CX_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answer_of_an_agent_has_its_outcome),
        cmocka_unit_test(a_line_without_end_is_not_read_for_ever),
        cmocka_unit_test(a_stream_is_read_line_by_line),
        cmocka_unit_test(a_socket_that_nobody_serves_is_unavailable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
