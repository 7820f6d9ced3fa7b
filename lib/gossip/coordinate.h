/* Network coordinates: each node has a place in 8 dimensions and a height such that the distance of two
 * nodes is about their round trip (section 16). Source: Vivaldi with the refinements that Serf
 * made. Pure: randomness is passed in. Distances and round trips are seconds. */
#pragma once

#include "base/rng.h"
#include "gossip/wire.h"

enum { CX_COORDINATE_DIMENSIONS = 8, CX_COORDINATE_WINDOW = 20, CX_COORDINATE_VERSION = 1 };

typedef struct cx_coordinate {
    double vec[CX_COORDINATE_DIMENSIONS];
    double error, adjustment, height;
} cx_coordinate;

/* The own place and what it was learnt from. */
typedef struct cx_place {
    cx_coordinate at;
    double samples[CX_COORDINATE_WINDOW];
    size_t sampled;
} cx_place;

cx_place cx_place_start(void);
/* Takes a round trip to a node with that coordinate; nonsense is ignored. */
void cx_place_update(cx_place *place, const cx_coordinate *other, double rtt, cx_rng *rng);
double cx_coordinate_distance(const cx_coordinate *a, const cx_coordinate *b);

/* The payload of an ack. Fails with MALFORMED on an unknown version, on another number of dimensions
 * and on anything that is not finite. */
void cx_coordinate_put(const cx_coordinate *coordinate, cx_buffer *payload);
CX_MUST_CHECK bool cx_coordinate_read(cx_bytes payload, cx_coordinate *coordinate, cx_err *err);
