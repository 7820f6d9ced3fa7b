/* Any bytes as a request: the head up to its blank line, the rest as a chunked body, which must come
 * out the same in one piece and byte by byte. */
#include <assert.h>
#include <string.h>

#include "base/httpwire.h"

enum { BODY_MAX = 1000 };

static bool is_clean(const char *text)
{
    for (; *text; text++)
        if ((*text >= 0 && *text < ' ' && *text != '\t') || *text == 0x7f)
            return false;
    return true;
}

static void head_is_sound(cx_bytes text)
{
    cx_httpwire_head head;
    int status = cx_httpwire_parse(text, &head);

    if (status != 0) {
        assert(status >= 400 && status < 600 && head.text == NULL);
        return;
    }
    assert(head.method && head.path[0] == '/' && is_clean(head.path));
    assert(!head.is_chunked || head.content_length == 0);
    for (size_t i = 0; i < head.header_count; i++)
        assert(head.headers[i].name[0] && is_clean(head.headers[i].name) &&
               is_clean(head.headers[i].value));
    for (size_t i = 0; i < head.query_count; i++)
        assert(is_clean(head.query[i].name) && is_clean(head.query[i].value));
    cx_httpwire_head_free(&head);
}

static int take(cx_bytes text, size_t step, cx_buffer *body, size_t *used, bool *is_whole)
{
    cx_httpwire_chunked chunked = {0};
    int status = 0;

    *used = 0;
    while (*used < text.size && status == 0 && chunked.state != CX_CHUNKED_DONE) {
        size_t left = text.size - *used;
        cx_bytes piece = {text.data + *used, left < step ? left : step};
        size_t size = piece.size;

        status = cx_httpwire_chunked_take(&chunked, &piece, BODY_MAX, body);
        *used += size - piece.size;
    }
    *is_whole = chunked.state == CX_CHUNKED_DONE;
    return status;
}

static void body_is_the_same_in_pieces(cx_bytes text)
{
    CX_AUTO(cx_buffer_free) cx_buffer whole = {0};
    CX_AUTO(cx_buffer_free) cx_buffer pieces = {0};
    size_t whole_used, pieces_used;
    bool whole_done, pieces_done;
    int status = take(text, text.size, &whole, &whole_used, &whole_done);

    assert(take(text, 1, &pieces, &pieces_used, &pieces_done) == status);
    assert(whole_used == pieces_used && whole_done == pieces_done);
    assert(whole.size <= BODY_MAX);
    assert(cx_bytes_equal(cx_buffer_bytes(&whole), cx_buffer_bytes(&pieces)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memmem(data, size, "\r\n\r\n", 4) : NULL;
    size_t head_size = end ? (size_t)(end - data) + 4 : size;

    head_is_sound((cx_bytes){data, head_size});
    body_is_the_same_in_pieces((cx_bytes){data + head_size, size - head_size});
    return 0;
}
