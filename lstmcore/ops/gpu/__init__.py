"""The kernels for GPUs, in CUDA, and how they get to a machine: everything that computes on a GPU stands on this."""
