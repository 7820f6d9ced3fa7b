#include "gossip/members.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 64, TAGS_MAGIC = 0xff };

static size_t hash_of(cx_bytes name)
{
    uint64_t hash = 14695981039346656037U; /* FNV-1a */

    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ name.data[i]) * 1099511628211U;
    return (size_t)(hash ^ hash >> 32);
}

static bool has_name(const cx_member *member, cx_bytes name)
{
    return strlen(member->name) == name.size && memcmp(member->name, name.data, name.size) == 0;
}

/* The bucket that holds the name, or the empty one where it belongs. */
static size_t bucket_of(const cx_members *members, cx_bytes name)
{
    size_t at = hash_of(name) & (members->bucket_count - 1);

    while (members->buckets[at] != NULL && !has_name(members->buckets[at], name))
        at = (at + 1) & (members->bucket_count - 1);
    return at;
}

static void rehash(cx_members *members, size_t bucket_count)
{
    cx_free(&members->buckets);
    members->buckets = cx_alloc(bucket_count, sizeof(cx_member *));
    members->bucket_count = bucket_count;
    for (size_t i = 0; i < members->count; i++) {
        cx_member *member = members->all[i];

        members->buckets[bucket_of(members, cx_bytes_of(member->name))] = member;
    }
}

/* Empties a bucket and closes the gap in its run, so that no search ends too early. */
static void empty_bucket(cx_members *members, size_t at)
{
    members->buckets[at] = NULL;
    for (size_t next = (at + 1) & (members->bucket_count - 1); members->buckets[next] != NULL;
         next = (next + 1) & (members->bucket_count - 1)) {
        cx_member *member = members->buckets[next];

        members->buckets[next] = NULL;
        members->buckets[bucket_of(members, cx_bytes_of(member->name))] = member;
    }
}

static void grow(cx_members *members)
{
    if (members->count == members->capacity) {
        members->capacity = members->capacity == 0 ? BUCKETS_MIN : 2 * members->capacity;
        members->all = cx_realloc(members->all, members->capacity, sizeof(cx_member *));
        members->listed = cx_realloc(members->listed, members->capacity, sizeof(cx_member *));
    }
    if (members->bucket_count < 2 * (members->count + 1))
        rehash(members, members->bucket_count == 0 ? BUCKETS_MIN : 2 * members->bucket_count);
}

static void swap_listed(cx_members *members, size_t a, size_t b)
{
    cx_member *at_a = members->listed[a], *at_b = members->listed[b];

    members->listed[a] = at_b;
    at_b->list_at = a;
    members->listed[b] = at_a;
    at_a->list_at = b;
}

/* ---- public */

bool cx_member_name_is_good(cx_bytes name)
{
    if (name.size == 0 || name.size > CX_GOSSIP_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < 0x20 || name.data[i] == 0x7f)
            return false;
    return true;
}

cx_member *cx_members_find(const cx_members *members, const char *name)
{
    return cx_members_find_bytes(members, cx_bytes_of(name));
}

cx_member *cx_members_find_bytes(const cx_members *members, cx_bytes name)
{
    return members->bucket_count == 0 ? NULL : members->buckets[bucket_of(members, name)];
}

cx_member *cx_members_at_addr(const cx_members *members, const cx_gossip_addr *addr)
{
    for (size_t i = 0; i < members->listed_count; i++)
        if (members->listed[i]->state != CX_WIRE_STATE_LEFT &&
            cx_gossip_addr_same(&members->listed[i]->addr, addr))
            return members->listed[i];
    return NULL;
}

cx_member *cx_members_add(cx_members *members, cx_bytes name)
{
    assert(cx_member_name_is_good(name));
    grow(members);

    size_t at = bucket_of(members, name);
    cx_member *member = cx_alloc(1, sizeof(*member));

    assert(members->buckets[at] == NULL);
    member->name = cx_strndup((const char *)name.data, name.size);
    member->state = CX_WIRE_STATE_DEAD;
    member->status = CX_GOSSIP_UNKNOWN;
    member->all_at = members->count;
    members->all[members->count++] = member;
    members->buckets[at] = member;
    return member;
}

void cx_members_remove(cx_members *members, cx_member *member)
{
    assert(member->broadcast == NULL);
    cx_members_unlist(members, member);
    empty_bucket(members, bucket_of(members, cx_bytes_of(member->name)));
    members->all[member->all_at] = members->all[--members->count];
    members->all[member->all_at]->all_at = member->all_at;
}

void cx_member_free(cx_member **owner)
{
    if (*owner == NULL)
        return;
    cx_free(&(*owner)->name);
    cx_free(&(*owner)->accusations);
    cx_tags_free(&(*owner)->tags);
    cx_free(owner);
}

void cx_members_free(cx_members *members)
{
    for (size_t i = 0; i < members->count; i++)
        cx_member_free(&members->all[i]);
    cx_free(&members->all);
    cx_free(&members->listed);
    cx_free(&members->buckets);
    *members = (cx_members){0};
}

void cx_members_list(cx_members *members, cx_member *member, cx_rng *rng)
{
    if (member->listed)
        return;
    member->listed = true;
    member->list_at = members->listed_count;
    members->listed[members->listed_count++] = member;
    swap_listed(members, member->list_at, (size_t)cx_rng_below(rng, members->listed_count));
}

void cx_members_unlist(cx_members *members, cx_member *member)
{
    if (!member->listed)
        return;
    swap_listed(members, member->list_at, members->listed_count - 1);
    members->listed_count--;
    member->listed = false;
}

void cx_members_shuffle(cx_members *members, cx_rng *rng)
{
    for (size_t i = members->listed_count; i > 1; i--)
        swap_listed(members, i - 1, (size_t)cx_rng_below(rng, i));
}

size_t cx_members_pick(const cx_members *members, cx_rng *rng, size_t wanted,
                       cx_member_filter *filter, const void *context, cx_member **picked)
{
    size_t count = members->listed_count, found = 0;

    /* A few of many: draw, and draw again for one that doesn't fit. */
    if (count > 16 * wanted) {
        for (size_t draw = 0; draw < 16 * wanted && found < wanted; draw++) {
            cx_member *member = members->listed[cx_rng_below(rng, count)];
            bool fits = filter(member, context);

            for (size_t i = 0; i < found; i++)
                fits = fits && picked[i] != member;
            if (fits)
                picked[found++] = member;
        }
        if (found > 0 || wanted == 0)
            return found;
    }

    /* Few, or hardly any that fit: each one that fits has the same chance (reservoir). */
    size_t seen = 0;

    for (size_t i = 0; i < count; i++) {
        if (!filter(members->listed[i], context))
            continue;
        seen++;
        if (found < wanted) {
            picked[found++] = members->listed[i];
            continue;
        }
        size_t at = (size_t)cx_rng_below(rng, seen);

        if (at < wanted)
            picked[at] = members->listed[i];
    }
    return found;
}

double cx_member_rtt(const cx_member *member)
{
    const double *r = member->rtts;

    switch (member->rtt_count) {
    case 0: return -1;
    case 1: return r[0];
    case 2: return r[0] > r[1] ? r[0] : r[1]; /* sorted[count / 2], as the peer takes it */
    default: break;
    }
    if ((r[0] <= r[1]) == (r[1] <= r[2]))
        return r[1];
    return (r[1] <= r[0]) == (r[0] <= r[2]) ? r[0] : r[2];
}

void cx_member_add_rtt(cx_member *member, double rtt)
{
    member->rtts[member->rtt_count++ % CX_RTT_SAMPLES] = rtt;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const cx_gossip_tag *)a)->key, ((const cx_gossip_tag *)b)->key);
}

/* Copies bytes to *to as text; a NUL within them would cut it, so it becomes a question mark. */
static const char *copy_text(char **to, cx_bytes bytes)
{
    char *text = *to;

    if (bytes.size > 0)
        memcpy(text, bytes.data, bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        if (text[i] == '\0')
            text[i] = '?';
    text[bytes.size] = '\0';
    *to += bytes.size + 1;
    return text;
}

/* Of tags with one key the last one stays. They are sorted. */
static size_t without_doubles(cx_gossip_tag *tags, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && strcmp(tags[kept - 1].key, tags[i].key) == 0)
            tags[kept - 1] = tags[i];
        else
            tags[kept++] = tags[i];
    }
    return kept;
}

cx_tags cx_tags_read(cx_bytes meta)
{
    cx_tags tags = {0};
    size_t count = 1;
    bool is_role = meta.size == 0 || meta.data[0] != TAGS_MAGIC;
    cx_bytes rest = {0};
    cx_err err;

    if (!is_role)
        rest = (cx_bytes){meta.data + 1, meta.size - 1};
    if (!is_role && !cx_msgpack_take_map(&rest, &count, &err))
        return tags;

    /* Each tag adds two NULs; its two length bytes pay for them. "role" is longer. */
    tags.items =
        cx_alloc(1, count * sizeof(cx_gossip_tag) + meta.size + 2 * count + sizeof("role"));

    char *text = (char *)(tags.items + count);

    if (is_role) { /* agents before Serf had tags */
        tags.items[0].key = copy_text(&text, cx_bytes_of("role"));
        tags.items[0].value = copy_text(&text, meta);
        tags.count = 1;
        return tags;
    }
    for (size_t i = 0; i < count; i++) {
        cx_bytes key, value;

        if (!cx_msgpack_take_text(&rest, &key, &err) ||
            !cx_msgpack_take_text(&rest, &value, &err)) {
            cx_tags_free(&tags);
            return tags;
        }
        tags.items[i].key = copy_text(&text, key);
        tags.items[i].value = copy_text(&text, value);
    }
    /* glibc's qsort sorts small arrays by merging, hence keeps the order of equals. */
    if (count > 0)
        qsort(tags.items, count, sizeof(cx_gossip_tag), by_key);
    tags.count = without_doubles(tags.items, count);
    return tags;
}

bool cx_tags_write(cx_gossip_tag *tags, size_t count, cx_buffer *meta, cx_err *err)
{
    const uint8_t magic = TAGS_MAGIC;
    size_t before = meta->size;

    if (count > 0)
        qsort(tags, count, sizeof(*tags), by_key);
    cx_buffer_add(meta, &magic, 1);
    cx_msgpack_put_map(meta, count);
    for (size_t i = 0; i < count; i++) {
        if (tags[i].key[0] == '\0')
            return cx_fail(err, CX_INVALID, "a tag without a name");
        if (i > 0 && strcmp(tags[i - 1].key, tags[i].key) == 0)
            return cx_fail(err, CX_INVALID, "tag %s is there twice", tags[i].key);
        cx_msgpack_put_text(meta, tags[i].key);
        cx_msgpack_put_text(meta, tags[i].value);
    }
    if (meta->size - before > CX_META_MAX)
        return cx_fail(err, CX_TOO_LARGE, "the tags take %zu bytes, at most %d are possible",
                       meta->size - before, CX_META_MAX);
    return true;
}

void cx_tags_free(cx_tags *tags)
{
    cx_free(&tags->items);
    tags->count = 0;
}
