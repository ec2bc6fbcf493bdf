// The passes over activations that take longest in PyTorch's own operators (quant.native.library).
//
// Maps lie in memory as (images, height, width, channels). Sixteen channels are worked on at a
// time, as compilers turn into the widest registers that the processor has. Every number is an
// integer that its float type holds exactly, so that neither the processor nor the order of
// operations changes a result.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef int8_t SignedBytes __attribute__((vector_size(16)));
typedef double HalfDoubles __attribute__((vector_size(64)));
typedef float HalfFloats __attribute__((vector_size(32)));
typedef int64_t HalfLongs __attribute__((vector_size(64)));
typedef int32_t HalfInts __attribute__((vector_size(32)));

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The first `count` of a vector's elements; the others are 0.
template <typename Vector, typename Element>
Vector load(const Element* from, int64_t count) {
    Vector value = {};
    if (count == LANES)
        std::memcpy(&value, from, sizeof value);
    else
        std::memcpy(&value, from, count * sizeof(Element));
    return value;
}

template <typename Vector, typename Element>
void store(Element* to, Vector value, int64_t count) {
    if (count == LANES)
        std::memcpy(to, &value, sizeof value);
    else
        std::memcpy(to, &value, count * sizeof(Element));
}

// Sixteen doubles in two registers.
struct Doubles {
    HalfDoubles low, high;
};

Doubles load_doubles(const double* from, int64_t count) {
    double padded[LANES] = {};
    if (count < LANES) {
        std::memcpy(padded, from, count * sizeof(double));
        from = padded;
    }
    Doubles value;
    std::memcpy(&value.low, from, sizeof value.low);
    std::memcpy(&value.high, from + LANES / 2, sizeof value.high);
    return value;
}

Doubles load_doubles(const float* from, int64_t count) {
    float padded[LANES] = {};
    if (count < LANES) {
        std::memcpy(padded, from, count * sizeof(float));
        from = padded;
    }
    HalfFloats low, high;
    std::memcpy(&low, from, sizeof low);
    std::memcpy(&high, from + LANES / 2, sizeof high);
    return {__builtin_convertvector(low, HalfDoubles), __builtin_convertvector(high, HalfDoubles)};
}

HalfDoubles clamp(HalfDoubles value, double lowest, double highest) {
    value = value < lowest ? HalfDoubles{} + lowest : value;
    return value > highest ? HalfDoubles{} + highest : value;
}

// Rounds down; the values fit 32 bits.
HalfInts rounded_down(HalfDoubles value) {
    HalfInts whole = __builtin_convertvector(value, HalfInts);
    HalfLongs above = __builtin_convertvector(whole, HalfDoubles) > value;
    return whole + __builtin_convertvector(above, HalfInts);
}

HalfDoubles residual_sums(const int32_t* values, HalfDoubles scale) {
    HalfInts integers;
    std::memcpy(&integers, values, sizeof integers);
    HalfDoubles scaled = __builtin_convertvector(integers, HalfDoubles) * scale + 0.5;
    return __builtin_convertvector(rounded_down(scaled), HalfDoubles);
}

}  // namespace

extern "C" {

struct Requantisation {
    int64_t images, height, width, channels;
    const double* bias;
    const double* scale;  // multiplier / 2**shift
    int32_t is_signed;
    int32_t sums_are_double;
    const void* residual;  // (images, residual_height, residual_width, residual_channels), or null
    int64_t residual_height, residual_width, residual_channels, residual_stride, channel_offset;
    const double* residual_scale;
    int32_t residual_is_signed;
};

// golden.layers.conv without its convolution and its ZAP: sums to activations of 8 bits.
void requantise(const Requantisation* layer, const void* sums, uint8_t* ofm) {
    constexpr double LOWEST = -2147483648.0, HIGHEST = 2147483647.0;
    const Requantisation l = *layer;
    const double first = l.is_signed ? -128 : 0, last = l.is_signed ? 127 : 255;
    const uint8_t* residual = static_cast<const uint8_t*>(l.residual);
    for (int64_t n = 0; n < l.images; n++)
        for (int64_t y = 0; y < l.height; y++)
            for (int64_t x = 0; x < l.width; x++) {
                const int64_t at = ((n * l.height + y) * l.width + x) * l.channels;
                const uint8_t* beside = nullptr;
                if (residual != nullptr)
                    beside = residual + ((n * l.residual_height + y * l.residual_stride) *
                                             l.residual_width + x * l.residual_stride) *
                                            l.residual_channels;
                for (int64_t c = 0; c < l.channels; c += LANES) {
                    const int64_t count = least(LANES, l.channels - c);
                    Doubles sum = l.sums_are_double
                                      ? load_doubles(static_cast<const double*>(sums) + at + c, count)
                                      : load_doubles(static_cast<const float*>(sums) + at + c, count);
                    const Doubles bias = load_doubles(l.bias + c, count);
                    sum.low += bias.low;
                    sum.high += bias.high;
                    if (beside != nullptr) {
                        int32_t values[LANES] = {};
                        const int64_t from = c - l.channel_offset;
                        const int64_t end = least(count, l.residual_channels - from);
                        if (from >= 0 && end == LANES) {
                            const Bytes levels = load<Bytes>(beside + from, LANES);
                            Ints wide = __builtin_convertvector(levels, Ints);
                            if (l.residual_is_signed)
                                wide = __builtin_convertvector((SignedBytes)levels, Ints);
                            std::memcpy(values, &wide, sizeof wide);
                        } else {
                            for (int64_t lane = from < 0 ? -from : 0; lane < end; lane++)
                                values[lane] = l.residual_is_signed
                                                   ? static_cast<int8_t>(beside[from + lane])
                                                   : beside[from + lane];
                        }
                        const Doubles scale = load_doubles(l.residual_scale + c, count);
                        sum.low += residual_sums(values, scale.low);
                        sum.high += residual_sums(values + LANES / 2, scale.high);
                    }
                    const Doubles scale = load_doubles(l.scale + c, count);
                    const HalfInts low = rounded_down(
                        clamp(clamp(sum.low, LOWEST, HIGHEST) * scale.low + 0.5, first, last));
                    const HalfInts high = rounded_down(
                        clamp(clamp(sum.high, LOWEST, HIGHEST) * scale.high + 0.5, first, last));
                    int32_t both[LANES];
                    std::memcpy(both, &low, sizeof low);
                    std::memcpy(both + LANES / 2, &high, sizeof high);
                    Ints levels;
                    std::memcpy(&levels, both, sizeof levels);
                    store(ofm + at + c, __builtin_convertvector(levels, Bytes), count);
                }
            }
}

struct Prediction {
    int64_t images, height, width, channels;
    const uint8_t* computed;  // (height, width): 1 where the pattern computes
    const float* weight1;     // (9, padded channels), as are all of these
    const float* bias1;       // with the half that rounds
    const float* power1;      // 1 / 2**shift
    const float* weight2;
    const float* threshold;
    int64_t padded;  // channels, rounded up to LANES
};

// golden.layers.scores and what follows from them: clears what is skipped.
// `counts` gets the activations that were kept, and those that were skipped and are positive.
// With `scores`, int32 like the ofm, those are written and nothing is cleared or counted.
void predict(const Prediction* zap, uint8_t* ofm, int64_t* counts, int32_t* scores) {
    const Prediction z = *zap;
    const int64_t row = (z.width + 2) * z.padded;
    // Three rows of the partial ofm and of the hidden map are alive at a time, each with a column
    // of zeros at both ends; `nothing` stands for the rows above and below.
    std::vector<float> partial(3 * row), hidden(3 * row), nothing(row);
    const auto row_of = [&](std::vector<float>& rows, int64_t y) {
        return y < 0 || y >= z.height ? nothing.data() : rows.data() + y % 3 * row;
    };
    int64_t kept = 0, wrong = 0;
    for (int64_t n = 0; n < z.images; n++)
        for (int64_t y = 0; y < z.height + 2; y++) {
            const int64_t image = n * z.height;
            if (y < z.height) {
                const uint8_t* from = ofm + (image + y) * z.width * z.channels;
                float* to = row_of(partial, y) + z.padded;
                for (int64_t x = 0; x < z.width; x++, from += z.channels, to += z.padded)
                    for (int64_t c = 0; c < z.padded; c += LANES) {
                        Floats values = {};
                        if (z.computed[y * z.width + x])
                            values = __builtin_convertvector(
                                load<Bytes>(from + c, least(LANES, z.channels - c)), Floats);
                        std::memcpy(to + c, &values, sizeof values);
                    }
            }
            if (y >= 1 && y - 1 < z.height) {
                const float* rows[3];
                for (int k = 0; k < 3; k++) rows[k] = row_of(partial, y - 2 + k);
                float* to = row_of(hidden, y - 1) + z.padded;
                for (int64_t c = 0; c < z.padded; c += LANES) {
                    Floats weight[9];
                    for (int k = 0; k < 9; k++)
                        weight[k] = load<Floats>(z.weight1 + k * z.padded + c, LANES);
                    const Floats bias = load<Floats>(z.bias1 + c, LANES);
                    const Floats power = load<Floats>(z.power1 + c, LANES);
                    for (int64_t x = 0; x < z.width; x++) {
                        Floats sum = bias;
                        for (int k = 0; k < 9; k++)
                            sum += weight[k] *
                                   load<Floats>(rows[k / 3] + (x + k % 3) * z.padded + c, LANES);
                        sum *= power;
                        sum = sum > 0.0f ? sum : Floats{};
                        sum = sum < 255.0f ? sum : Floats{} + 255.0f;
                        // Of a number that is not negative, conversion takes the whole part.
                        sum = __builtin_convertvector(__builtin_convertvector(sum, Ints), Floats);
                        std::memcpy(to + x * z.padded + c, &sum, sizeof sum);
                    }
                }
            }
            if (y >= 2) {
                const float* rows[3];
                for (int k = 0; k < 3; k++) rows[k] = row_of(hidden, y - 3 + k);
                const int64_t first = (image + y - 2) * z.width * z.channels;
                const uint8_t* computed = z.computed + (y - 2) * z.width;
                for (int64_t c = 0; c < z.padded; c += LANES) {
                    const int64_t count = least(LANES, z.channels - c);
                    Floats weight[9];
                    for (int k = 0; k < 9; k++)
                        weight[k] = load<Floats>(z.weight2 + k * z.padded + c, LANES);
                    const Floats threshold = load<Floats>(z.threshold + c, LANES);
                    Ints keeps = {}, errors = {};
                    for (int64_t x = 0; x < z.width; x++) {
                        if (scores == nullptr && computed[x]) continue;
                        Floats sum = {};
                        for (int k = 0; k < 9; k++)
                            sum += weight[k] *
                                   load<Floats>(rows[k / 3] + (x + k % 3) * z.padded + c, LANES);
                        const int64_t at = first + x * z.channels + c;
                        if (scores != nullptr) {
                            store(scores + at, __builtin_convertvector(sum, Ints), count);
                            continue;
                        }
                        const Ints keep = sum > threshold;
                        const Ints levels =
                            __builtin_convertvector(load<Bytes>(ofm + at, count), Ints);
                        keeps -= keep;
                        errors -= ~keep & (levels > 0);
                        store(ofm + at, __builtin_convertvector(levels & keep, Bytes), count);
                    }
                    for (int64_t lane = 0; lane < count; lane++) {
                        kept += keeps[lane];
                        wrong += errors[lane];
                    }
                }
            }
        }
    counts[0] = kept;
    counts[1] = wrong;
}

struct Scores {
    int64_t images, height, width, channels;
    const uint8_t* computed;  // as in Prediction
    const double* scale;      // real score = scale * score + offset
    const double* offset;
    double first, per_unit;  // of the bins
    int64_t bins;
};

// Counts the scores of predicted activations by channel and bin, (channels, bins): how many there
// are, and the sum of their activations. Bin k has those above `first` + (k - 1) / `per_unit` and at
// most `first` + k / `per_unit`; the ends take what lies beyond them.
void count_scores(const Scores* layer, const int32_t* scores, const uint8_t* ofm, int64_t* counts,
                  int64_t* values) {
    const Scores l = *layer;
    for (int64_t n = 0; n < l.images; n++)
        for (int64_t position = 0; position < l.height * l.width; position++) {
            if (l.computed[position]) continue;
            const int64_t at = (n * l.height * l.width + position) * l.channels;
            for (int64_t c = 0; c < l.channels; c++) {
                // PyTorch rounds the product before the sum; so must this.
                volatile double product = scores[at + c] * l.scale[c];
                double bin = std::ceil((product + l.offset[c] - l.first) * l.per_unit);
                bin = bin < 0 ? 0 : bin;
                bin = bin < l.bins - 1 ? bin : l.bins - 1;
                const int64_t cell = c * l.bins + static_cast<int64_t>(bin);
                counts[cell]++;
                values[cell] += ofm[at + c];
            }
        }
}

struct MaxPooling {
    int64_t images, height, width, channels;
    int64_t out_height, out_width;
    int64_t kernel[2], stride[2], corner[2];  // (vertical, horizontal); `corner` is the padding
    int32_t is_signed;
};

// The largest activation of each window; padding is never the largest.
void max_pool(const MaxPooling* layer, const uint8_t* ifm, uint8_t* ofm) {
    const MaxPooling l = *layer;
    // Signed numbers are in the order of unsigned ones when their sign bit is turned.
    const uint8_t sign = l.is_signed ? 0x80 : 0;
    for (int64_t n = 0; n < l.images; n++)
        for (int64_t y = 0; y < l.out_height; y++)
            for (int64_t x = 0; x < l.out_width; x++) {
                uint8_t* to = ofm + ((n * l.out_height + y) * l.out_width + x) * l.channels;
                for (int64_t c = 0; c < l.channels; c += LANES) {
                    const int64_t count = least(LANES, l.channels - c);
                    Bytes largest = {};
                    for (int64_t i = 0; i < l.kernel[0]; i++)
                        for (int64_t j = 0; j < l.kernel[1]; j++) {
                            const int64_t row = y * l.stride[0] + i - l.corner[0];
                            const int64_t column = x * l.stride[1] + j - l.corner[1];
                            if (row < 0 || row >= l.height || column < 0 || column >= l.width)
                                continue;
                            const Bytes value =
                                load<Bytes>(
                                    ifm + ((n * l.height + row) * l.width + column) * l.channels + c,
                                    count) ^
                                sign;
                            largest = value > largest ? value : largest;
                        }
                    store(to + c, largest ^ sign, count);
                }
            }
}

}  // extern "C"
