/* What a kind of destination implements: part of repo/dest.h. */
#pragma once

#include "repo/dest.h"

typedef struct cx_dest_kind {
    void (*close)(void *self);
    bool (*prepare)(void *self, cx_err *err);
    bool (*put)(void *self, const char *key, cx_bytes bytes, cx_put how, cx_err *err);
    bool (*flush)(void *self, cx_err *err);
    bool (*get)(void *self, const char *key, size_t size_max, cx_buffer *bytes, cx_err *err);
    bool (*stat)(void *self, const char *key, cx_object *object, cx_err *err);
    bool (*remove)(void *self, const char *key, cx_err *err);
    bool (*list)(void *self, const char *prefix, cx_object_each *each, void *arg, cx_err *err);
    bool (*folders)(void *self, const char *prefix, cx_list *names, cx_err *err);
    bool (*sweep)(void *self, const char *prefix, cx_err *err);
    bool (*now)(void *self, int64_t *wall_ms, cx_err *err);
} cx_dest_kind;

extern const cx_dest_kind cx_dest_dir_kind, cx_dest_s3_kind;

CX_MUST_CHECK bool cx_dest_dir_open(const char *path, void **self, cx_err *err);
CX_MUST_CHECK bool cx_dest_s3_open(const char *url, void **self, cx_err *err);
