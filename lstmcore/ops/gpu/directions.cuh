// One launch runs one direction of a layer, or both at once: a block works for one of them.
//
// All that differs between the two is a single argument of the kernel, this struct by value. It lies in constant memory
// (__grid_constant__: no thread copies it), and a block looks up there what it needs of its direction: that costs no
// registers.
#include "dialect.cuh"

template <class Direction>
struct Directions {
    Direction of[2];  // one that runs alone stands here twice
};

// An array (T, B, ...) whose steps and rows may lie anywhere; flipped time is a view. As `Strides` of directions.py.
template <class Number>
struct Strided {
    Number* array;  // null: there is none
    long long step, row;  // how many numbers on the next one is
    __device__ __forceinline__ Number* at(long long t, long long b) const { return array + t * step + b * row; }
};

struct Mask : Strided<const unsigned char> {  // (T, B); none: every step is real
    __device__ __forceinline__ bool real(long long t, long long b) const { return !array || *at(t, b); }
};
