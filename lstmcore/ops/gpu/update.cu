// An optimizer's step of many parameters. An entry: w, SLOTS arrays that are remembered, and the gradient dw.
//
// RULE is the optimizer's formula, from its Python text (train/update/optimizers.py): from w, dw, what is remembered and its
// numbers it makes them anew, in array[0], array[1], ... at place k. A row of `numbers` belongs to each entry.

#include "dialect.cuh"
#include "table.cuh"

extern "C" __global__ void update(const Table<SLOTS + 2> table, const double* numbers) {
    const Entry<SLOTS + 2>& entry = table.of[blockIdx.y];
    REAL* const* const array = entry.array;
    const double* const number = numbers + blockIdx.y * NUMBERS;
    const REAL keep = number[0], decay = number[1], l1 = number[2];
    for (long long k = FIRST_NUMBER; k < entry.size; k += NEXT_NUMBER) {
        REAL w = array[0][k];
        const REAL sign = w > 0 ? 1 : w < 0 ? -1 : 0;
        const REAL dw = array[SLOTS + 1][k] + decay * w + l1 * sign;
        w = keep * w;
        RULE
    }
}
