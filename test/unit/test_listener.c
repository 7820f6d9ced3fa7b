/* base/listener: connections are accepted; without descriptors it pauses, and goes on later. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/listener.h"
#include "base/time.h"

static void on_accepted(int fd, const struct sockaddr *from, socklen_t from_size, void *arg)
{
    (void)from;
    (void)from_size;
    close(fd);
    ++*(int *)arg;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static uint16_t listen_at(int *fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;

    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(*fd, 8), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

static void without_descriptors_it_pauses_and_then_goes_on(void **state)
{
    struct event_base *loop = event_base_new();
    struct rlimit before, none;
    int accepted = 0, fd = -1, client;
    uint16_t port = listen_at(&fd);
    cx_listener *listener = cx_listener_open(loop, fd, on_accepted, &accepted);
    int64_t started_ms;

    (void)state;
    assert_non_null(listener);
    client = connect_to(port);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)client; /* accept(2) would need a number above */
    setrlimit(RLIMIT_NOFILE, &none);
    event_base_loop(loop, EVLOOP_ONCE); /* it fails */
    started_ms = cx_now_ms();
    event_base_loop(loop, EVLOOP_ONCE); /* and sleeps, though the socket is readable */
    assert_true(cx_now_ms() - started_ms >= 50);
    assert_int_equal(accepted, 0);

    setrlimit(RLIMIT_NOFILE, &before);
    started_ms = cx_now_ms();
    while (accepted == 0 && cx_now_ms() - started_ms < 5000)
        event_base_loop(loop, EVLOOP_ONCE);
    assert_int_equal(accepted, 1);
    close(client);
    cx_listener_close(&listener);
    assert_null(listener);
    cx_listener_close(&listener);
    event_base_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_descriptors_it_pauses_and_then_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
