#include "base/rendezvous.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

static uint64_t weight_of(const char *name, const char *key)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    uint8_t digest[CX_SHA256_SIZE];
    uint64_t weight = 0;

    cx_buffer_add(&text, name, strlen(name) + 1);
    cx_buffer_add_text(&text, key);
    cx_sha256(cx_buffer_bytes(&text), digest);
    for (size_t i = 0; i < sizeof weight; i++)
        weight = weight << 8 | digest[i];
    return weight;
}

size_t cx_rendezvous(const char *key, const char *const *names, size_t count)
{
    size_t best = 0;
    uint64_t best_weight = 0;

    assert(count > 0);
    for (size_t i = 0; i < count; i++) {
        uint64_t weight = weight_of(names[i], key);

        if (i > 0 &&
            (weight < best_weight || (weight == best_weight && strcmp(names[i], names[best]) >= 0)))
            continue;
        best = i;
        best_weight = weight;
    }
    return best;
}
