"""What the compiled engine stands on: vectors, their maths, the product tile, kernels kept on disk, threads."""
