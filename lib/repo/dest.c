#include "repo/dest.h"

#include <string.h>

#include "repo/dest_kind.h"

struct cx_dest {
    const cx_dest_kind *kind;
    void *self;
    char *name;
};

bool cx_dest_open(const char *text, cx_dest **dest, cx_err *err)
{
    bool is_s3 = strncmp(text, "s3://", 5) == 0;
    const cx_dest_kind *kind = is_s3 ? &cx_dest_s3_kind : &cx_dest_dir_kind;
    void *self = NULL;

    if (!is_s3 && strstr(text, "://") != NULL) {
        cx_fail(err, CX_USAGE, "destination %s: no such kind", text);
        return cx_hint(err, "a folder, or s3://bucket/prefix?endpoint=URL&region=R&path_style=1");
    }
    if (is_s3 ? !cx_dest_s3_open(text, &self, err) : !cx_dest_dir_open(text, &self, err))
        return cx_wrap(err, "destination %s", text);
    *dest = cx_alloc(1, sizeof **dest);
    **dest = (cx_dest){.kind = kind, .self = self, .name = cx_strdup(text)};
    return true;
}

void cx_dest_close(cx_dest **owner)
{
    cx_dest *dest = CX_TAKE(*owner);

    if (dest == NULL)
        return;
    dest->kind->close(dest->self);
    cx_free(&dest->name);
    cx_free(&dest);
}

const char *cx_dest_name(const cx_dest *dest)
{
    return dest->name;
}

/* Whatever happens, the reader has to know at which of several destinations. */
static bool named(const cx_dest *dest, bool done, cx_err *err)
{
    return done || cx_wrap(err, "%s", dest->name);
}

bool cx_dest_prepare(cx_dest *dest, cx_err *err)
{
    return named(dest, dest->kind->prepare(dest->self, err), err);
}

bool cx_dest_put(cx_dest *dest, const char *key, cx_bytes bytes, cx_put how, cx_err *err)
{
    return named(dest, dest->kind->put(dest->self, key, bytes, how, err), err);
}

bool cx_dest_flush(cx_dest *dest, cx_err *err)
{
    return named(dest, dest->kind->flush(dest->self, err), err);
}

bool cx_dest_get(cx_dest *dest, const char *key, size_t size_max, cx_buffer *bytes, cx_err *err)
{
    return named(dest, dest->kind->get(dest->self, key, size_max, bytes, err), err);
}

bool cx_dest_stat(cx_dest *dest, const char *key, cx_object *object, cx_err *err)
{
    return named(dest, dest->kind->stat(dest->self, key, object, err), err);
}

bool cx_dest_remove(cx_dest *dest, const char *key, cx_err *err)
{
    return named(dest, dest->kind->remove(dest->self, key, err), err);
}

bool cx_dest_list(cx_dest *dest, const char *prefix, cx_object_each *each, void *arg, cx_err *err)
{
    return named(dest, dest->kind->list(dest->self, prefix, each, arg, err), err);
}

bool cx_dest_folders(cx_dest *dest, const char *prefix, cx_list *names, cx_err *err)
{
    return named(dest, dest->kind->folders(dest->self, prefix, names, err), err);
}

bool cx_dest_sweep(cx_dest *dest, const char *prefix, cx_err *err)
{
    return named(dest, dest->kind->sweep(dest->self, prefix, err), err);
}

bool cx_dest_now(cx_dest *dest, int64_t *wall_ms, cx_err *err)
{
    return named(dest, dest->kind->now(dest->self, wall_ms, err), err);
}
