/* Map: the caller's pointers by text. Keys are copied; values stay the caller's and are never freed
 * here. The hash is keyed with random bytes, so that a stranger who chooses keys can't make them
 * collide. */
#pragma once

#include "base/mem.h"

typedef struct cx_map cx_map;

cx_map *cx_map_open(void);
void cx_map_close(cx_map **owner);
size_t cx_map_count(const cx_map *map);
void *cx_map_get(const cx_map *map, const char *key); /* NULL: absent */
/* value is not NULL. Returns what stood there before, or NULL. */
void *cx_map_put(cx_map *map, const char *key, void *value);
void *cx_map_remove(cx_map *map, const char *key); /* what was removed, or NULL */
/* Walks all entries, in no order: start with *cursor 0. Removing while walking is not allowed; key
 * may be NULL. */
bool cx_map_next(const cx_map *map, size_t *cursor, const char **key, void **value);
