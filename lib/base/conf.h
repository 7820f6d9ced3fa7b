/* YAML and JSON configuration: one tree that remembers lines, and findings that name them.
 *
 * libyaml with the YAML 1.2 core schema (`02:00`, `yes` and `0x1G` are strings). Refused, each with
 * file, line and column: anchors, aliases, tags, duplicate keys, keys that are no text, more than
 * one document, more than CX_CONF_BYTES_MAX bytes, more than CX_CONF_DEPTH_MAX levels, bytes that
 * are not UTF-8. An empty document is NULL. */
#pragma once

#include "base/json.h"

enum {
    CX_CONF_BYTES_MAX = 1024 * 1024,
    CX_CONF_DEPTH_MAX = 32,
    CX_CONF_NODES_MAX = 100000,
    CX_CONF_KEY_MAX = 128,    /* bytes of a key */
    CX_CONF_ERRORS_MAX = 100, /* findings kept; later ones are dropped */
};

typedef enum cx_conf_kind {
    CX_CONF_NULL,
    CX_CONF_BOOL,
    CX_CONF_INT,  /* fits in int64_t */
    CX_CONF_REAL, /* also an integer beyond int64_t */
    CX_CONF_TEXT,
    CX_CONF_LIST,
    CX_CONF_MAP,
} cx_conf_kind;

typedef struct cx_conf_node {
    cx_conf_kind kind;
    const char *text;           /* a scalar as written; "" else */
    size_t line, column;        /* from 1; of the value */
    struct cx_conf_node *items; /* LIST: items; MAP: values */
    struct cx_conf_key {
        const char *name;
        size_t line, column;
    } * keys;     /* MAP only */
    size_t count; /* of items */
} cx_conf_node;

typedef struct cx_conf cx_conf;

/* One finding about a document; the list is kept in the order of the file. `where` is dotted: "alerts.critical[0].condition". */
typedef struct cx_conf_error {
    char *file, *where, *message, *hint;
    size_t line, column;
} cx_conf_error;

typedef struct cx_conf_errors {
    cx_conf_error *items;
    size_t count;
} cx_conf_errors;

/* Syntax errors go to `errors` like any other finding (false then, err has the first). */
CX_MUST_CHECK bool cx_conf_read(const char *path, cx_conf **conf, cx_conf_errors *errors,
                                cx_err *err);
CX_MUST_CHECK bool cx_conf_parse(cx_bytes text, const char *name, cx_conf **conf,
                                 cx_conf_errors *errors, cx_err *err);
void cx_conf_close(cx_conf **owner);
const cx_conf_node *cx_conf_root(const cx_conf *conf);
const char *cx_conf_name(const cx_conf *conf); /* the file's path */

const cx_conf_node *cx_conf_at(const cx_conf_node *map, const char *key); /* NULL: absent */
int64_t cx_conf_int(const cx_conf_node *node);    /* the value of an INT, 0 of anything else */
const char *cx_conf_kind_word(cx_conf_kind kind); /* for messages: "a list", "nothing" */
/* Adds a finding about a node whose dotted path is `where`, or about a key of that map where key
 * is given (the finding's path is then where.key). hint may be NULL. Control characters in the
 * message become `?`: values from the file may be quoted in it. */
void cx_conf_blame(const cx_conf *conf, const cx_conf_node *node, const char *key,
                   const char *where, const char *hint, cx_conf_errors *errors, const char *format,
                   ...) CX_PRINTF(7, 8);
/* Blames each key of a map that is not in the list; the hint names the nearest known key. */
void cx_conf_only_keys(const cx_conf *conf, const cx_conf_node *map, const char *where,
                       const char *const *known, cx_conf_errors *errors);
/* Adds a finding that has no node; line and column may be 0 (unknown). */
void cx_conf_errors_add(cx_conf_errors *errors, const char *file, size_t line, size_t column,
                        const char *where, const char *hint, const char *format, ...)
    CX_PRINTF(7, 8);
json_t *cx_conf_to_json(const cx_conf_node *node); /* new reference; .inf and .nan become texts */
json_t *cx_conf_errors_to_json(const cx_conf_errors *errors); /* as `cx-config check` prints */
/* The first finding as an error "FILE:LINE:COLUMN: where: message (and N more)", code CONFIG. */
bool cx_conf_fail(const cx_conf_errors *errors, cx_err *err);
void cx_conf_errors_free(cx_conf_errors *errors);
