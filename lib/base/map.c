#include "base/map.h"

#include <string.h>

#include <sodium.h>

#include "base/text.h"

/* Entries lie densely in one array; slots is an open-addressed table of their places plus one, with
 * linear probing and at most half of it in use. */
typedef struct entry {
    char *key;
    void *value;
    uint64_t hash;
} entry;

struct cx_map {
    entry *entries;
    size_t count, capacity;
    size_t *slots; /* 0: empty */
    size_t slot_count;
    uint8_t secret[crypto_shorthash_KEYBYTES];
};

enum { SLOTS_MIN = 16 };

static uint64_t hash_of(const cx_map *map, const char *key)
{
    uint8_t digest[crypto_shorthash_BYTES];
    uint64_t hash;

    _Static_assert(sizeof digest == sizeof hash, "siphash gives 64 bits");
    crypto_shorthash(digest, (const uint8_t *)key, strlen(key), map->secret);
    memcpy(&hash, digest, sizeof hash);
    return hash;
}

/* The slot that holds the key, or the empty one where it would go. */
static size_t slot_of(const cx_map *map, const char *key, uint64_t hash)
{
    size_t slot = (size_t)hash & (map->slot_count - 1);

    while (map->slots[slot] != 0) {
        const entry *there = &map->entries[map->slots[slot] - 1];

        if (there->hash == hash && strcmp(there->key, key) == 0)
            break;
        slot = (slot + 1) & (map->slot_count - 1);
    }
    return slot;
}

static void grow(cx_map *map)
{
    if (map->count == map->capacity) {
        map->capacity = map->capacity == 0 ? SLOTS_MIN / 2 : map->capacity * 2;
        map->entries = cx_realloc(map->entries, map->capacity, sizeof *map->entries);
    }
    if ((map->count + 1) * 2 <= map->slot_count)
        return;
    map->slot_count *= 2;
    cx_free(&map->slots);
    map->slots = cx_alloc(map->slot_count, sizeof *map->slots);
    for (size_t i = 0; i < map->count; i++)
        map->slots[slot_of(map, map->entries[i].key, map->entries[i].hash)] = i + 1;
}

/* Empties a slot and moves up the entries after it that would no longer be found. */
static void vacate(cx_map *map, size_t slot)
{
    size_t mask = map->slot_count - 1;

    map->slots[slot] = 0;
    for (size_t at = (slot + 1) & mask; map->slots[at] != 0; at = (at + 1) & mask) {
        size_t home = (size_t)map->entries[map->slots[at] - 1].hash & mask;

        if (((at - home) & mask) < ((at - slot) & mask))
            continue;
        map->slots[slot] = map->slots[at];
        map->slots[at] = 0;
        slot = at;
    }
}

cx_map *cx_map_open(void)
{
    cx_map *map = cx_alloc(1, sizeof *map);

    map->slot_count = SLOTS_MIN;
    map->slots = cx_alloc(map->slot_count, sizeof *map->slots);
    cx_random(map->secret, sizeof map->secret);
    return map;
}

void cx_map_close(cx_map **owner)
{
    cx_map *map = *owner;

    if (map == NULL)
        return;
    for (size_t i = 0; i < map->count; i++)
        cx_free(&map->entries[i].key);
    cx_free(&map->entries);
    cx_free(&map->slots);
    cx_free(owner);
}

size_t cx_map_count(const cx_map *map)
{
    return map->count;
}

void *cx_map_get(const cx_map *map, const char *key)
{
    size_t at = map->slots[slot_of(map, key, hash_of(map, key))];

    return at == 0 ? NULL : map->entries[at - 1].value;
}

void *cx_map_put(cx_map *map, const char *key, void *value)
{
    grow(map);

    uint64_t hash = hash_of(map, key);
    size_t slot = slot_of(map, key, hash);

    if (map->slots[slot] != 0) {
        entry *there = &map->entries[map->slots[slot] - 1];
        void *before = there->value;

        there->value = value;
        return before;
    }
    map->entries[map->count] = (entry){cx_strdup(key), value, hash};
    map->slots[slot] = ++map->count;
    return NULL;
}

void *cx_map_remove(cx_map *map, const char *key)
{
    size_t slot = slot_of(map, key, hash_of(map, key));

    if (map->slots[slot] == 0)
        return NULL;

    size_t at = map->slots[slot] - 1;
    void *value = map->entries[at].value;

    cx_free(&map->entries[at].key);
    vacate(map, slot);
    map->count--;
    if (at < map->count) { /* the last entry takes the freed place */
        const entry *last = &map->entries[map->count];

        map->slots[slot_of(map, last->key, last->hash)] = at + 1;
        map->entries[at] = *last;
    }
    return value;
}

bool cx_map_next(const cx_map *map, size_t *cursor, const char **key, void **value)
{
    if (*cursor >= map->count)
        return false;
    if (key != NULL)
        *key = map->entries[*cursor].key;
    if (value != NULL)
        *value = map->entries[*cursor].value;
    (*cursor)++;
    return true;
}
