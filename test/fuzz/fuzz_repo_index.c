/* Indexes: what is taken stays in its folder, and is written again. */
#include <stdlib.h>
#include <string.h>

#include "repo/index.h"

static bool rewrite(const cx_index_entry *entry, void *arg, cx_err *err)
{
    (void)err;
    if (entry->tar.path[0] == '/' || strncmp(entry->tar.path, "../", 3) == 0)
        abort();
    cx_index_add(entry, arg);
    return true;
}

static bool ignore(const cx_index_entry *entry, void *arg, cx_err *err)
{
    (void)entry, (void)arg, (void)err;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    cx_err err;

    if (cx_index_read((cx_bytes){data, size}, rewrite, &lines, &err) &&
        !cx_index_read(cx_buffer_bytes(&lines), ignore, NULL, &err))
        abort();
    return 0;
}
