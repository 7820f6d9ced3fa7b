/* Any bytes as a time, a duration, a size, an address, an id, hex and base64. What is accepted must
 * come back from its own writing. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

static void time_comes_back(const char *text)
{
    char written[CX_TIME_TEXT_SIZE];
    int64_t ms;
    int64_t again_ms;
    cx_err err;

    if (!cx_time_parse(text, &ms, &err))
        return;
    cx_time_text(ms, written);
    assert(cx_time_parse(written, &again_ms, &err));
    /* An offset can lead out of the years 0000 to 9999, where the text stops at the border. */
    assert(again_ms == ms || written[0] == '0' || written[0] == '9');
}

static void duration_comes_back(const char *text)
{
    char written[CX_TIME_TEXT_SIZE];
    int64_t ms;
    int64_t again_ms;
    cx_err err;

    if (!cx_duration_parse(text, &ms, &err))
        return;
    assert(ms >= 0);
    assert(cx_duration_parse(cx_duration_text(ms, written), &again_ms, &err) && again_ms == ms);
}

static void address_is_sound(const char *text)
{
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port = 0;
    cx_err err;

    if (!cx_parse_host_port(text, 7946, &host, &port, &err)) {
        assert(host == NULL && err.code == CX_INVALID);
        return;
    }
    assert(port > 0 && host[0] != '\0' && strpbrk(host, "/@ []\n") == NULL);
}

static void base64_comes_back(const char *text)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    CX_AUTO(cx_buffer_free) cx_buffer again = {0};
    cx_err err;

    if (!cx_from_base64(text, 1024, &data, &err)) {
        assert(data.size == 0);
        return;
    }

    CX_AUTO(cx_free) char *written = cx_base64(cx_buffer_bytes(&data));

    assert(data.size <= 1024 && cx_from_base64(written, 1024, &again, &err));
    assert(cx_bytes_equal(cx_buffer_bytes(&data), cx_buffer_bytes(&again)));
}

static void words_are_compared(const char *text)
{
    static const char *const words[] = {"enter", "exit", "status", "token create"};
    uint8_t bytes[8];
    int64_t size_bytes;
    cx_err err;

    (void)cx_nearest(text, words, CX_COUNT(words));
    if (cx_size_parse(text, &size_bytes, &err))
        assert(size_bytes >= 0);
    if (cx_check_id("id", text, &err))
        assert(strchr(text, '/') == NULL && text[0] != '.' && strlen(text) <= 64);
    if (cx_from_hex(text, bytes, sizeof(bytes), &err))
        assert(strlen(text) == 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_free) char *text = cx_strndup((const char *)data, size);

    time_comes_back(text);
    duration_comes_back(text);
    address_is_sound(text);
    base64_comes_back(text);
    words_are_compared(text);
    return 0;
}
