/* tar streams from a repository: every path that comes out stays in its folder. */
#include <stdlib.h>
#include <string.h>

#include "repo/tar.h"

struct pieces {
    cx_bytes rest;
    size_t size;
};

static bool give(void *arg, cx_bytes *piece, cx_err *err)
{
    struct pieces *pieces = arg;
    size_t size = pieces->rest.size < pieces->size ? pieces->rest.size : pieces->size;

    (void)err;
    *piece = (cx_bytes){pieces->rest.data, size};
    pieces->rest = (cx_bytes){pieces->rest.data + size, pieces->rest.size - size};
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pieces pieces = {{data, size}, size > 0 ? 1 + data[0] * 7u : 1};
    CX_AUTO(cx_tar_close) cx_tar_reader *reader = cx_tar_open(give, &pieces);
    cx_tar_entry entry;
    bool found = true;
    cx_err err;

    while (found) {
        if (!cx_tar_next(reader, &entry, &found, &err))
            return 0;
        if (!found)
            break;
        if (entry.path[0] == '/' || strcmp(entry.path, "..") == 0 ||
            strncmp(entry.path, "../", 3) == 0 || strstr(entry.path, "/../") != NULL)
            abort();
        for (cx_bytes piece = {data, 1}; piece.size > 0;)
            if (!cx_tar_content(reader, &piece, &err))
                return 0;
    }
    return 0;
}
