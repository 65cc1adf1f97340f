// Many arrays in one launch: a table of them, passed by value. An entry names arrays of one size that belong together;
// the grid's second axis says which entry, and the threads of its first axis share the numbers. REAL is float or double.

template <int ARRAYS>
struct Entry {
    REAL* array[ARRAYS];
    long long size;
};

template <int ARRAYS>
struct Table {
    Entry<ARRAYS> of[ENTRIES];
};

// In a kernel: the first number of this thread, and how far it is to its next one.
#define FIRST_NUMBER ((long long)blockIdx.x * blockDim.x + threadIdx.x)
#define NEXT_NUMBER ((long long)gridDim.x * blockDim.x)
