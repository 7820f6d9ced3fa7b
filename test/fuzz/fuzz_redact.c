/* Any text to the redactor, with a secret put into the midst of it: it is gone, and what is left has
 * none that would be found again. */
#include <assert.h>
#include <string.h>

#include "base/redact.h"

static void add_secret(cx_buffer *text, uint8_t choice)
{
    static const char *const secrets[] = {
        "AGE-SECRET-KEY-1SENTINELX",
        "-----BEGIN PRIVATE KEY-----\nSENTINELX\n-----END PRIVATE KEY-----",
        "\ncxj1.SENTINELX",
        "\n\"password\":\"SENTINELX\"",
        " PASSWORD=SENTINELX ",
    };

    cx_buffer_add_text(text, secrets[choice % CX_COUNT(secrets)]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};
    CX_AUTO(cx_buffer_free) cx_buffer twice = {0};
    cx_redactions found = {0}, again = {0};
    size_t at;

    if (size < 2 || memmem(data, size, "SENTINEL", 8) != NULL)
        return 0;
    at = 2 + data[0] % (size - 1);
    cx_buffer_add(&text, data + 2, at - 2);
    /* In front of it a line of its own: else any text may have made a part of it (a quote, say). */
    cx_buffer_add_text(&text, "\n\n");
    add_secret(&text, data[1]);
    cx_buffer_add(&text, data + at, size - at);
    cx_redact(NULL, cx_buffer_bytes(&text), &out, &found);
    assert(found.total > 0);
    assert(out.size == 0 || memmem(out.data, out.size, "SENTINELX", 9) == NULL);
    cx_redact(NULL, cx_buffer_bytes(&out), &twice, &again);
    assert(again.total == 0);
    return 0;
}
