#include "gossip/coordinate.h"

#include <math.h>
#include <string.h>

static const double ERROR_MAX = 1.5, CE = 0.25, CC = 0.25, HEIGHT_MIN = 1e-5, RHO = 150.0,
                    ZERO = 1e-6, RTT_MAX = 10.0;

static bool is_finite(const cx_coordinate *c)
{
    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        if (!isfinite(c->vec[i]))
            return false;
    return isfinite(c->error) && isfinite(c->adjustment) && isfinite(c->height);
}

static cx_coordinate fresh(void)
{
    return (cx_coordinate){.error = ERROR_MAX, .height = HEIGHT_MIN};
}

static double magnitude(const double vec[CX_COORDINATE_DIMENSIONS])
{
    double sum = 0;

    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        sum += vec[i] * vec[i];
    return sqrt(sum);
}

static double raw_distance(const cx_coordinate *a, const cx_coordinate *b)
{
    double difference[CX_COORDINATE_DIMENSIONS];

    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        difference[i] = a->vec[i] - b->vec[i];
    return magnitude(difference) + a->height + b->height;
}

/* Away from `other` by `force`, towards it when that is negative. */
static void push(cx_coordinate *c, const cx_coordinate *other, double force, cx_rng *rng)
{
    double unit[CX_COORDINATE_DIMENSIONS], length;

    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        unit[i] = c->vec[i] - other->vec[i];
    length = magnitude(unit);
    if (length > ZERO) {
        double height = (c->height + other->height) * force / length + c->height;

        c->height = height > HEIGHT_MIN ? height : HEIGHT_MIN;
    } else { /* on top of each other: anywhere */
        for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
            unit[i] = cx_rng_real(rng) - 0.5;
        length = magnitude(unit);
        if (length <= ZERO) {
            unit[0] = length = 1;
        }
    }
    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        c->vec[i] += unit[i] / length * force;
}

static void vivaldi(cx_coordinate *c, const cx_coordinate *other, double rtt, cx_rng *rng)
{
    /* Distances are cut to whole nanoseconds, as the peer's type for them does. */
    double distance = floor(cx_coordinate_distance(c, other) * 1e9) / 1e9;

    rtt = rtt > ZERO ? rtt : ZERO;

    double wrongness = fabs(distance - rtt) / rtt, total = c->error + other->error;
    double weight = c->error / (total > ZERO ? total : ZERO);

    c->error = CE * weight * wrongness + c->error * (1 - CE * weight);
    if (c->error > ERROR_MAX)
        c->error = ERROR_MAX;
    push(c, other, CC * weight * (rtt - distance), rng);
}

static void adjust(cx_place *place, const cx_coordinate *other, double rtt)
{
    double sum = 0;

    place->samples[place->sampled++ % CX_COORDINATE_WINDOW] = rtt - raw_distance(&place->at, other);
    for (size_t i = 0; i < CX_COORDINATE_WINDOW; i++)
        sum += place->samples[i];
    place->at.adjustment = sum / (2.0 * CX_COORDINATE_WINDOW);
}

static void gravity(cx_coordinate *c, cx_rng *rng)
{
    const cx_coordinate origin = {.height = HEIGHT_MIN};
    double pull = cx_coordinate_distance(&origin, c) / RHO;

    push(c, &origin, -pull * pull, rng);
}

cx_place cx_place_start(void)
{
    return (cx_place){.at = fresh()};
}

void cx_place_update(cx_place *place, const cx_coordinate *other, double rtt, cx_rng *rng)
{
    if (!is_finite(other) || !(rtt >= 0 && rtt <= RTT_MAX))
        return;
    vivaldi(&place->at, other, rtt, rng);
    adjust(place, other, rtt);
    gravity(&place->at, rng);
    if (!is_finite(&place->at))
        *place = cx_place_start();
}

double cx_coordinate_distance(const cx_coordinate *a, const cx_coordinate *b)
{
    double raw = raw_distance(a, b), adjusted = raw + a->adjustment + b->adjustment;

    return adjusted > 0 ? adjusted : raw;
}

void cx_coordinate_put(const cx_coordinate *coordinate, cx_buffer *payload)
{
    CX_AUTO(cx_buffer_free) cx_buffer vec = {0};
    const uint8_t version = CX_COORDINATE_VERSION;

    cx_msgpack_put_array(&vec, CX_COORDINATE_DIMENSIONS);
    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        cx_msgpack_put_double(&vec, coordinate->vec[i]);

    cx_wire_coordinate record = {
        .vec = cx_buffer_bytes(&vec),
        .error = coordinate->error,
        .adjustment = coordinate->adjustment,
        .height = coordinate->height,
    };

    cx_buffer_add(payload, &version, 1);
    cx_record_put(payload, &cx_wire_coordinate_record, &record);
}

bool cx_coordinate_read(cx_bytes payload, cx_coordinate *coordinate, cx_err *err)
{
    cx_wire_coordinate record;
    size_t count = 0;

    if (payload.size == 0 || payload.data[0] != CX_COORDINATE_VERSION)
        return cx_fail(err, CX_MALFORMED, "coordinate of an unknown version");
    if (!cx_wire_read((cx_bytes){payload.data + 1, payload.size - 1}, &cx_wire_coordinate_record,
                      &record, err) ||
        !cx_msgpack_take_array(&record.vec, &count, err))
        return false;
    if (count != CX_COORDINATE_DIMENSIONS)
        return cx_fail(err, CX_MALFORMED, "coordinate of %zu dimensions", count);
    *coordinate = (cx_coordinate){
        .error = record.error, .adjustment = record.adjustment, .height = record.height};
    for (size_t i = 0; i < CX_COORDINATE_DIMENSIONS; i++)
        if (!cx_msgpack_take_double(&record.vec, &coordinate->vec[i], err))
            return false;
    if (!is_finite(coordinate))
        return cx_fail(err, CX_MALFORMED, "coordinate that is not finite");
    return true;
}
