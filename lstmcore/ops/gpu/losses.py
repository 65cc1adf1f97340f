"""Softmax cross-entropy on a GPU, loss and gradient in two launches: the host's side of ops/gpu/losses.cu."""

from lstmcore.arrays import Array, namespace
from lstmcore.ops.gpu.launch import Machine, contiguous, kernel_in

FILE = "losses.cu"
THREADS = 128  # per block


def softmax_cross_entropy(machine: Machine, logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array]:
    """loss (), dlogits (..., V) of float32 or float64 logits (..., V), with targets and mask (...) that have been
    checked, but for their values: a target that is no class, or a mask without a valid item, gives a loss of NaN.
    """
    xp, N, V = namespace(logits), targets.size, logits.shape[-1]
    dlogits, losses = xp.empty(logits.shape, dtype=logits.dtype), xp.empty(N, dtype=logits.dtype)
    mean = xp.empty((), dtype=logits.dtype)
    count = None if mask is None else xp.asarray(xp.count_nonzero(mask), dtype=xp.float64)
    mask = None if mask is None else contiguous(mask)
    given = contiguous(logits), contiguous(xp.astype(targets, xp.int32)), mask, count
    cross_entropy, mean_loss = (
        kernel_in(machine, FILE, entry, logits.dtype, ("THREADS", THREADS)) for entry in ("cross_entropy", "mean_loss")
    )
    cross_entropy((-(-N * 32 // THREADS), 1), THREADS, 0, *given, losses, dlogits, N, V)
    mean_loss((1, 1), THREADS, THREADS * 8, losses, count, mean, N)
    return mean, dlogits
