/* JSON by jansson: strict parsing with bounds, text that is always valid UTF-8, typed reading of
 * fields with errors that name the field. */
#pragma once

#include <jansson.h>

#include "base/err.h"

enum {
    CX_JSON_DOCUMENT_MAX = 64 * 1024 * 1024, /* bytes of one document; callers set smaller limits */
};

void cx_json_free(json_t **owner);

/* Parses one whole document: duplicate keys and trailing bytes are MALFORMED, more than size_max
 * bytes TOO_LARGE; the error names line and column. `name` says where the text is from. */
CX_MUST_CHECK bool cx_json_parse(cx_bytes text, size_t size_max, const char *name, json_t **json,
                                 cx_err *err);
/* Reads and parses a whole file ("-": stdin). */
CX_MUST_CHECK bool cx_json_read_file(const char *path, size_t size_max, json_t **json, cx_err *err);
/* One line without a newline; keys in insertion order. Caller owns the text. */
char *cx_json_line(const json_t *json);
/* A JSON string of any bytes: what is not UTF-8, and NUL, becomes U+FFFD. cx_json_text(NULL) is
 * null. Never NULL; new reference. */
json_t *cx_json_text(const char *text);
json_t *cx_json_text_n(const char *text, size_t size);
json_t *cx_json_text_or_null(const char *text); /* null for "", too */
json_t *cx_json_texts(const cx_list *texts);    /* an array of them; new reference */
json_t *cx_json_time(int64_t wall_ms);          /* RFC 3339; new reference */
json_t *cx_json_time_or_null(int64_t wall_ms);  /* null for 0 */
/* Rounded to 3 decimals, for figures that people read; null for NaN and infinities. */
json_t *cx_json_figure(double value);

/* Typed fields of an object. `where` names the object in errors ("spec", "messages[3]").
 * get_*: a missing or null field leaves *value untouched and succeeds; a wrong type is INVALID.
 * need_*: a missing field is INVALID too. Texts are borrowed from the object. */
CX_MUST_CHECK bool cx_json_get_text(const json_t *object, const char *where, const char *key,
                                    const char **value, cx_err *err);
CX_MUST_CHECK bool cx_json_need_text(const json_t *object, const char *where, const char *key,
                                     const char **value, cx_err *err);
CX_MUST_CHECK bool cx_json_get_int(const json_t *object, const char *where, const char *key,
                                   int64_t min, int64_t max, int64_t *value, cx_err *err);
CX_MUST_CHECK bool cx_json_need_int(const json_t *object, const char *where, const char *key,
                                    int64_t min, int64_t max, int64_t *value, cx_err *err);
CX_MUST_CHECK bool cx_json_get_bool(const json_t *object, const char *where, const char *key,
                                    bool *value, cx_err *err);
/* Fails with INVALID on a key that is not in the NULL-terminated list, naming the nearest one. */
CX_MUST_CHECK bool cx_json_only_keys(const json_t *object, const char *where,
                                     const char *const *keys, cx_err *err);
/* Text of a field or "" when it is missing or no text: for documents already validated. */
const char *cx_json_text_or_empty(const json_t *object, const char *key);

/* {"error":{"code","message","hint","exit"}}, as the tools print it and the APIs answer it. */
json_t *cx_err_to_json(const cx_err *err);
/* Reads such a document of a peer into err (UNAVAILABLE if it is none); always returns false. */
bool cx_err_from_json(const json_t *json, cx_err *err);
