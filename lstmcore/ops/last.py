"""One step of each row: the last real one."""

from lstmcore.arrays import Array, namespace


def last_forward(x: Array, mask: Array | None) -> Array:
    """x (T, B, I) -> y (B, I): y[b] = x[t, b] at the last t where mask[t, b]; zero for a row without a real step."""
    xp = namespace(x)
    return x[-1, ...] if mask is None else xp.sum(xp.where(_is_last(mask), x, xp.zeros_like(x)), axis=0)


def last_backward(dy: Array, T: int, mask: Array | None) -> Array:
    """dx (T, B, I): dy at that step, zero at all others."""
    xp = namespace(dy)
    dx = xp.zeros((T, *dy.shape), dtype=dy.dtype)
    if mask is None:
        dx[-1, ...] = dy
        return dx
    return xp.where(_is_last(mask), dy[None, ...], dx)


def _is_last(mask: Array) -> Array:
    """(T, B, 1) bool, true once per row that has a real step."""
    xp = namespace(mask)
    t = xp.arange(mask.shape[0])[:, None]
    last = xp.max(xp.where(mask, t, xp.full_like(t, -1)), axis=0)  # (B,)
    return (t == last[None, :])[..., None]
