// The few words that a GPU's compiler and the emulation on a CPU read differently. The emulation says them itself,
// before this text. Everything else in this folder is plain CUDA.

#ifndef EMULATED

// The block's dynamic shared memory, as an array `name` of `type`.
extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(dynamic_shared_memory)

// Stands in every loop that waits for another block. A GPU runs the others anyhow.
#define LET_OTHERS_RUN()

// Stands before whatever other threads wait for. With HUNT_RACES each thread dawdles there for a time that nobody can
// foresee, up to some microseconds, so that an order that was only usual does not stay usual.
#ifdef HUNT_RACES
__device__ __forceinline__ void dawdle() {
    unsigned now;
    asm volatile("mov.u32 %0, %%clock;" : "=r"(now));
    unsigned noise = (now ^ (threadIdx.x * 2654435761u) ^ (blockIdx.x * 40503u)) * 747796405u;
    __nanosleep((noise >> 16) & 4095u);
}
#define DAWDLE() dawdle()
#else
#define DAWDLE()
#endif

#endif
