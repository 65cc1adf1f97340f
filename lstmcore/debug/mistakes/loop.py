"""Mistakes in the loop over time, in its padding, and in the products after it."""

from lstmcore.debug.mistakes.mistake import LOOP, LSTM, PRODUCTS, Edit, Mistake

ADD_DY = "dstate = (dstate[0] + dy[t, ...], *dstate[1:])"
BACK = "    for t in reversed(range(T)):\n"
PRODUCT = "cell.recurrent_blocks), W_hh.T)"
STEP_BACK = "out = step_backward(*given, *("
DH_PREV = 'dprevious["h"] = dproduct + dprevious["h"] if "h" in dprevious else dproduct'
H_PREV = "cache.states[0][:-1, ...], da"
SUMS = "sums = xp.sum(xp.sum(da, axis=1), axis=0)"
DW_HH = "dW_hh = product(xp.reshape(h_prev, (T * B, -1)).T, da_h)"
DW_IH = "dW_ih = product(xp.reshape(x, (T * B, I)).T, da_x)"
DX = 'dx = xp.reshape(product(da_x, params["W_ih"].T), (T, B, I))'

LOOP_MISTAKES = (
    Mistake("the carry of dh is dropped", LOOP, ADD_DY, "dstate = (dy[t, ...], *dstate[1:])"),
    Mistake("the gradient of h goes nowhere through W_hh", LOOP, DH_PREV, 'dprevious["h"] = 0 * dproduct'),
    Mistake("the gradient of h through W_hh counted twice", LOOP, DH_PREV,
            'dprevious["h"] = 2 * dproduct + dprevious["h"] if "h" in dprevious else 2 * dproduct'),
    Mistake("only the last output has a gradient", LOOP, "if dy is not None:\n            dstate =",
            "if dy is not None and t == T - 1:\n            dstate ="),
    Mistake("the outputs' gradient counted twice", LOOP, ADD_DY,
            "dstate = (dstate[0] + 2 * dy[t, ...], *dstate[1:])"),
    Mistake("the outputs' gradient is dropped", LOOP, ADD_DY, "dstate = (dstate[0] + 0 * dy[t, ...], *dstate[1:])"),
    Mistake("dy of the step after (dy_{t+1} for dy_t)", LOOP, ADD_DY,
            "dstate = (dstate[0] + (dy[t + 1, ...] if t + 1 < T else 0 * dy[t, ...]), *dstate[1:])"),
    Mistake("dy of the step before (dy_{t-1} for dy_t)", LOOP, ADD_DY,
            "dstate = (dstate[0] + (dy[t - 1, ...] if t else 0 * dy[t, ...]), *dstate[1:])"),
    Mistake("dy read in the order of the loop back (dy_{T-1-t} for dy_t)", LOOP, ADD_DY,
            "dstate = (dstate[0] + dy[T - 1 - t, ...], *dstate[1:])"),
    Mistake("W_hh not transposed on the way back", LOOP, PRODUCT,
            "cell.recurrent_blocks), xp.reshape(W_hh, (W_hh.shape[1], W_hh.shape[0])))"),
    Mistake("W_hh not transposed on the way back, block by block", LOOP, PRODUCT,
            "cell.recurrent_blocks), blocks_transposed(W_hh).T)"),
    Mistake("W_ih for W_hh on the way back to h_{t-1}", LOOP, PRODUCT,
            'cell.recurrent_blocks), params["W_ih"].T)', needs=("square",)),
    Mistake("the loop back stops before the first step", LOOP, BACK, "    da[0, ...] = 0 * cache.gates[0, ...]\n"
            "    for t in reversed(range(1, T)):\n"),
    Mistake("the loop back begins one step too early", LOOP, BACK, "    da[T - 1, ...] = 0 * cache.gates[T - 1, ...]\n"
            "    for t in reversed(range(T - 1)):\n"),
    Mistake("the loop back runs forward in time", LOOP, BACK, "    for t in range(T):\n"),
    Mistake("the gradient of the final h is ignored", LOOP, BACK,
            "    dstate = (0 * dstate[0], *dstate[1:])\n" + BACK, needs=("dstate",)),
    Mistake("the gradient of the final c is ignored", LOOP, BACK,
            "    dstate = (dstate[0], *(0 * d for d in dstate[1:]))\n" + BACK, needs=("dstate",)),
)  # fmt: skip

CARRY = "new = tuple(xp.where(m, n, s) for n, s in zip(new, state))"
CARRY_BACK = "new = tuple(xp.where(m, n, d) for n, d in zip(new, dstate))"
CLOSED = "gates_t = tuple(xp.where(m, gate, xp.zeros_like(gate)) for gate in gates_t)"
DA_CLOSED = "da_t = tuple(xp.where(m, d, xp.zeros_like(d)) for d in da_t)"
DY_MASKED = "dy = masking_backward(dy, mask)"
READS_PADDING = Edit(LOOP, "    x = masking_forward(x, mask)\n", "")

MASK_MISTAKES = (
    Mistake("the mask holds h but not c, forward and backward", LOOP, CARRY,
            "new = (xp.where(m, new[0], state[0]), *new[1:])", needs=("mask",),
            more=(READS_PADDING, Edit(LOOP, CLOSED, "gates_t = tuple(gates_t)"),
                  Edit(LOOP, DA_CLOSED, "da_t = tuple(da_t)"),
                  Edit(LOOP, "        " + STEP_BACK, "        held = dstate[0]\n        if mask is not None:\n"
                       "            dstate = (xp.where(mask[t, :, None], held, xp.zeros_like(held)), *dstate[1:])\n"
                       "        given = dstate\n        " + STEP_BACK),
                  Edit(LOOP, CARRY_BACK, "new = (new[0] + xp.where(m, xp.zeros_like(held), held), *new[1:])"))),
    Mistake("the mask holds c but not h, forward and backward", LOOP, CARRY,
            "new = (new[0], *(xp.where(m, n, s) for n, s in zip(new[1:], state[1:])))", needs=("mask",),
            more=(READS_PADDING, Edit(LOOP, CLOSED, "gates_t = tuple(gates_t)"),
                  Edit(LOOP, DA_CLOSED, "da_t = tuple(da_t)"),
                  Edit(LOOP, "        current = [s[t + 1, ...]",
                       "        held = dstate[1:]\n        if mask is not None:\n            dstate = (dstate[0], "
                       "*(xp.where(mask[t, :, None], d, xp.zeros_like(d)) for d in held))\n"
                       "        current = [s[t + 1, ...]"),
                  Edit(LOOP, CARRY_BACK, "new = (new[0], *(n + xp.where(m, xp.zeros_like(d), d) "
                       "for n, d in zip(new[1:], held)))"))),
    Mistake("the state is set to zero on padding, forward and backward", LOOP, CARRY,
            "new = tuple(xp.where(m, n, xp.zeros_like(s)) for n, s in zip(new, state))", needs=("mask",),
            more=(Edit(LOOP, CARRY_BACK,
                       "new = tuple(xp.where(m, n, xp.zeros_like(d)) for n, d in zip(new, dstate))"),)),
    Mistake("the state is set to zero on padding, but its gradient carried through", LOOP, CARRY,
            "new = tuple(xp.where(m, n, xp.zeros_like(s)) for n, s in zip(new, state))", needs=("mask",)),
    Mistake("the gradient of the state stops at a masked step", LOOP, CARRY_BACK,
            "new = tuple(xp.where(m, n, xp.zeros_like(d)) for n, d in zip(new, dstate))", needs=("mask",)),
    Mistake("the gradient of h stops at a masked step, that of c does not", LOOP, CARRY_BACK,
            "new = (xp.where(m, new[0], xp.zeros_like(new[0])), *(xp.where(m, n, d) "
            "for n, d in zip(new[1:], dstate[1:])))", needs=("mask",)),
    Mistake("the gradient of c stops at a masked step, that of h does not", LOOP, CARRY_BACK,
            "new = (xp.where(m, new[0], dstate[0]), *(xp.where(m, n, xp.zeros_like(n)) for n in new[1:]))",
            needs=("mask",)),
    *(Mistake(f"the mask is ignored on the way back{and_dy}", LOOP,
              "T, K, mask = cache.x.shape[0], len(cell.gates), cache.mask",
              f"T, K, mask = cache.x.shape[0], len(cell.gates), {mask}", needs=("mask",),
              more=(Edit(LOOP, CLOSED, "gates_t = tuple(gates_t)"),
                    READS_PADDING, *more))
      for and_dy, mask, more in (
          (", that of dy too", "None", ()),
          ("", "cache.mask", (Edit(LOOP, DA_CLOSED, "da_t = tuple(da_t)"),
                              Edit(LOOP, CARRY_BACK, "new = tuple(new)"))))),
    Mistake("masked steps give gradients to the weights", LOOP, DA_CLOSED, "da_t = tuple(da_t)", needs=("mask",)),
    Mistake("padded outputs pile their gradients on the last real step", LOOP, DY_MASKED, "dy = 1 * dy",
            needs=("mask",)),
)  # fmt: skip

PRODUCT_MISTAKES = (
    Mistake("h_t for h_{t-1} in dW_hh", LOOP, H_PREV, "cache.states[0][1:, ...], da"),
    Mistake("c_{t-1} for h_{t-1} in dW_hh", LOOP, H_PREV, "cache.states[-1][:-1, ...], da"),
    Mistake("c_t for h_{t-1} in dW_hh", LOOP, H_PREV, "cache.states[-1][1:, ...], da"),
    Mistake("h_{t-2} for h_{t-1} in dW_hh", LOOP, H_PREV,
            "xp.concat([cache.states[0][:1, ...], cache.states[0][:-2, ...]]), da"),
    Mistake("the first step is left out of dW_hh", LOOP, H_PREV,
            "xp.concat([xp.zeros_like(cache.states[0][:1, ...]), cache.states[0][1:-1, ...]]), da"),
    Mistake("the last step is left out of dW_hh", LOOP, H_PREV,
            "xp.concat([cache.states[0][:-2, ...], xp.zeros_like(cache.states[0][:1, ...])]), da"),
    Mistake("the first step is left out of the bias", PRODUCTS, "xp.sum(da, axis=1), axis=0",
            "xp.sum(da[1:, ...], axis=1), axis=0"),
    Mistake("the last step is left out of the bias", PRODUCTS, "xp.sum(da, axis=1), axis=0",
            "xp.sum(da[:-1, ...], axis=1), axis=0"),
    Mistake("the first step is left out of dW_ih", PRODUCTS, DW_IH,
            "dW_ih = product(xp.reshape(x[1:, ...], ((T - 1) * B, I)).T, da_x[B:, ...])"),
    Mistake("the last step is left out of dW_ih", PRODUCTS, DW_IH,
            "dW_ih = product(xp.reshape(x[:-1, ...], ((T - 1) * B, I)).T, da_x[:-B, ...])"),
    Mistake("x_{t+1} for x_t in dW_ih", PRODUCTS, DW_IH,
            "dW_ih = product(xp.reshape(x[1:, ...], ((T - 1) * B, I)).T, da_x[:-B, ...])"),
    Mistake("x_{t-1} for x_t in dW_ih", PRODUCTS, DW_IH,
            "dW_ih = product(xp.reshape(x[:-1, ...], ((T - 1) * B, I)).T, da_x[B:, ...])"),
    *(Mistake(f"{name} is overwritten at each step, not added up: only step {which} is left", module, right, wrong)
      for which, at in (("0", "0"), ("T-1", "-1")) for name, module, right, wrong in (
          ("dW_ih", PRODUCTS, DW_IH, f"dW_ih = product(x[{at}, ...].T, xp.reshape(da_x, (T, B, -1))[{at}, ...])"),
          ("dW_hh", PRODUCTS, DW_HH, f"dW_hh = product(h_prev[{at}, ...].T, xp.reshape(da_h, (T, B, -1))[{at}, ...])"),
          ("db", PRODUCTS, SUMS, f"sums = xp.sum(da[{at}, ...], axis=0)"))),
    *(Mistake(f"all weight gradients are overwritten at each step: only step {which} is left", PRODUCTS, DW_IH,
              f"dW_ih = product(x[{at}, ...].T, xp.reshape(da_x, (T, B, -1))[{at}, ...])",
              more=(Edit(PRODUCTS, DW_HH,
                         f"dW_hh = product(h_prev[{at}, ...].T, xp.reshape(da_h, (T, B, -1))[{at}, ...])"),
                    Edit(PRODUCTS, SUMS, f"sums = xp.sum(da[{at}, ...], axis=0)")))
      for which, at in (("0", "0"), ("T-1", "-1"))),
    Mistake("the bias takes row 0 of the batch only", PRODUCTS, SUMS, "sums = xp.sum(da[:, 0, ...], axis=0)"),
    Mistake("W_hh for W_ih on the way back to x", PRODUCTS, DX, DX.replace("W_ih", "W_hh"), needs=("square",)),
    Mistake("dx misses the transpose of W_ih, block by block", PRODUCTS, DX,
            "dx = xp.reshape(product(da_x, blocks_transposed(params[\"W_ih\"]).T), (T, B, I))", needs=("square",)),
)  # fmt: skip


def truncated(k: int, what: str = "dh and dc") -> Mistake:
    """Backpropagation through the last k steps only, counted from the end."""
    cut = {"dh and dc": "tuple(0 * d for d in dstate)", "dh": "(0 * dstate[0], *dstate[1:])",
           "dc": "(dstate[0], *(0 * d for d in dstate[1:]))"}[what]  # fmt: skip
    silent = "            dy = None\n" if what == "dh and dc" else ""
    return Mistake(f"{what} truncated after {k} steps", LOOP, BACK,
                   f"{BACK}        if t == T - {k + 1}:\n{silent}            dstate = {cut}\n")  # fmt: skip


def cut(k: int, what: str = "dh and dc") -> Mistake:
    """Truncated backpropagation in chunks of k steps, counted from the start: nothing passes between chunks."""
    cut = {"dh and dc": "tuple(0 * d for d in dstate)", "dh": "(0 * dstate[0], *dstate[1:])",
           "dc": "(dstate[0], *(0 * d for d in dstate[1:]))"}[what]  # fmt: skip
    often = f"every {k} steps" if k > 1 else "at every step: nothing comes from one to the one before"
    return Mistake(f"the carry of {what} is cut {often}", LOOP, BACK,
                   f"{BACK}        if t % {k} == {k - 1} and t < T - 1:\n            dstate = {cut}\n")  # fmt: skip


CLIPPED = {  # what is clipped, and where
    "the cell state, going forward,": (LSTM, "c = f * c_prev + i * g", "c = clipped(f * c_prev + i * g, {0})"),
    "the gradient of c": (LSTM, "do = dh * tanh_c", "dc = clipped(dc, {0})\n        do = dh * tanh_c"),
    "the carried gradient of c": (LSTM, "dc = dc + dh * o", "dc = clipped(dc, {0}) + dh * o"),
    "the carried gradient of h": (LOOP, ADD_DY, "dstate = (clipped(dstate[0], {0}) + dy[t, ...], *dstate[1:])"),
    "the norm of the carried gradient of h": (
        LOOP,
        ADD_DY,
        "dstate = (norm_clipped(dstate[0], {0}) + dy[t, ...], *dstate[1:])",
    ),
    "the norm of the carried gradient of c": (LSTM, "dc = dc + dh * o", "dc = norm_clipped(dc, {0}) + dh * o"),
    "the gradient of h": (LOOP, ADD_DY, "dstate = (clipped(dstate[0] + dy[t, ...], {0}), *dstate[1:])"),
    "the gradients of the pre-activations": (LOOP, "da[t, :, k, :] = d", "da[t, :, k, :] = clipped(d, {0})"),
}


def clipped(what: str, limit: float) -> Mistake:
    """Brings one of the gradients inside the loop into -limit .. limit."""
    module, right, wrong = CLIPPED[what]
    return Mistake(f"{what} is clipped to {limit:.6g}", module, right, wrong.format(f"{limit!r}"))


CLIPS = tuple(clipped(what, limit) for what in CLIPPED for limit in (0.1, 0.5, 1.0, 5.0))
