"""Mistakes seen in other people's programs: lines that look right, and slices, signs and caches that are not."""

from lstmcore.debug.mistakes.around_layers import NAMES
from lstmcore.debug.mistakes.loop import ADD_DY, BACK, DH_PREV, DX, H_PREV, PRODUCT
from lstmcore.debug.mistakes.mistake import AROUND, GIVEN, LOOP, LSTM, PRODUCTS, READ, RNN, THEIRS, Edit, Mistake
from lstmcore.debug.mistakes.step import CANDIDATE, GATES, INTO_C, SIGMOID, SLOPES, forward_and_back

OUT = "da_t, dprevious = out[:K], dict(zip(cell.previous, out[K:]))"
PREVIOUS = (
    "previous = [s[t, ...] for s, name in zip(cache.states, cell.states) if name in cell.previous]\n        current"
)
CURRENT = "s[t + 1, ...] for s, name in zip(cache.states, cell.states) if name in cell.current]"
CARRIED = "        dstate = new\n    dx"
ROWS = {  # what a program takes for the rows of W_hh, or of W_ih, in one matrix over both
    "the first H rows of [x; h]": 'xp.concat([params["W_ih"], W_hh])[: W_hh.shape[0], ...]',
    "the last H rows of [h; x]": 'xp.concat([W_hh, params["W_ih"]])[-W_hh.shape[0] :, ...]',
    "the first I rows of [h; x]": 'xp.concat([params["W_hh"], params["W_ih"]])[:I, ...]',
    "the last I rows of [x; h]": 'xp.concat([params["W_ih"], params["W_hh"]])[-I:, ...]',
}
LENGTHS = "case.mask.sum(axis=0)"
OF_ROWS = {
    "each row is averaged over its own length": f"1 / np.maximum({LENGTHS}, 1)",
    "each row is averaged over its own length, and these means over the batch":
        f"1 / (np.maximum({LENGTHS}, 1) * len({LENGTHS}))",
    "means of means: rows of unequal lengths weigh the same":
        f"{LENGTHS}.sum() / (np.maximum({LENGTHS}, 1) * len({LENGTHS}))",
}  # fmt: skip

WILD = (
    Mistake("the last output's gradient enters at every step (dy_{T-1} for dy_t)", LOOP, ADD_DY,
            "dstate = (dstate[0] + dy[T - 1, ...], *dstate[1:])"),
    *(Mistake(f"the {name}'s gradient has the wrong sign", LSTM, right, right.replace(f"= d{k}", f"= -d{k}"))
      for k, (right, name) in (SIGMOID | {"g": (CANDIDATE, GATES["g"])}).items()),
    *(Mistake(f"sigma' of the {name} as s (1 + s)", LSTM, right, right.replace("one -", "one +"))
      for k, (right, name) in SIGMOID.items()),
    *(Mistake(f"sigma' of the {name} as s (1 - s^2)", LSTM, right,
              f"da_{k} = d{k} * {k} * (one - {k} * {k})") for k, (right, name) in SIGMOID.items()),
    Mistake("tanh' of the candidate as 1 + g^2", LSTM, CANDIDATE, CANDIDATE.replace("one -", "one +")),
    Mistake("tanh' of c as 1 + tanh(c)^2", LSTM, INTO_C, INTO_C.replace("one -", "one +")),
    Mistake("what comes through h into c has the wrong sign", LSTM, INTO_C, INTO_C.replace("dc + dh", "dc - dh")),
    Mistake("a parenthesis puts tanh' of c on what came along c too", LSTM, INTO_C,
            "dc = (dc + dh * o) * (one - tanh_c * tanh_c)"),
    Mistake("a parenthesis puts the output gate on what came along c too: dc = (dc + dh) o tanh'", LSTM,
            INTO_C, "dc = (dc + dh) * o * (one - tanh_c * tanh_c)"),
    *(Mistake(f"a parenthesis leaves sigma' of the {name} on what came through h alone", LSTM, INTO_C,
              "along = dc\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
              more=(Edit(LSTM, right, f"da_{k} = along + (dc - along) * {partner} * {SLOPES[k]}"),))
      for k, partner, right, name in (("i", "g", *SIGMOID["i"]), ("f", "c_prev", *SIGMOID["f"]),
                                      ("g", "i", CANDIDATE, GATES["g"]))),
    *(Mistake(f"a parenthesis leaves sigma' of the {name} off what came along c, after its product", LSTM, INTO_C,
              "along = dc\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
              more=(Edit(LSTM, right, f"da_{k} = along * {partner} + (dc - along) * {partner} * {SLOPES[k]}"),))
      for k, partner, right, name in (("i", "g", *SIGMOID["i"]), ("f", "c_prev", *SIGMOID["f"]),
                                      ("g", "i", CANDIDATE, GATES["g"]))),
    Mistake("tanh(c_{t-1}) for tanh(c_t) in tanh' only", LSTM, "(one - tanh_c * tanh_c)",
            "(one - tanh(c_prev) * tanh(c_prev))"),
    Mistake("dh is not set to zero before W_hh^T: it piles up", LOOP, DH_PREV,
            'dprevious["h"] = dproduct + dprevious["h"] if "h" in dprevious else dproduct + dstate[0]',
            needs=("lstm",)),
    Mistake("a parenthesis leaves tanh' on dy alone, not on what was carried", LOOP, ADD_DY,
            "dstate = (dstate[0] / (1 - cache.gates[t, :, 0, :] ** 2) + dy[t, ...], *dstate[1:])", needs=("rnn",)),
    Mistake("sigma' is taken after W_hh^T, not before (operator precedence)", LOOP, PRODUCT,
            "cell.recurrent_blocks) / slopes(cache.gates[t, ...]), W_hh.T, slopes(cache.gates[t, ...]))",
            more=(Edit(LOOP, "dproduct = product(", "dproduct = block_products("),), needs=("lstm",)),
    Mistake("c is changed in place: every cached c is the last one", LOOP, PREVIOUS,
            PREVIOUS.replace("s[t, ...]", "s[T, ...]"), more=(Edit(LOOP, CURRENT, CURRENT.replace("t + 1", "T")),),
            needs=("lstm",)),
    Mistake("h is changed in place: every h_{t-1} in dW_hh is the last h", LOOP, H_PREV,
            "xp.broadcast_to(cache.states[0][-1:, ...], cache.states[0][1:, ...].shape), da"),
    Mistake("c_{t-1} at step 0 wraps round to the last c (index -1)", LOOP, PREVIOUS,
            PREVIOUS.replace("s[t, ...]", "s[t if t else T, ...]"), needs=("lstm",)),
    Mistake("h_{t-1} at step 0 wraps round to the last h (index -1) in dW_hh", LOOP, H_PREV,
            "xp.concat([cache.states[0][-1:, ...], cache.states[0][1:-1, ...]]), da"),
    *(Mistake(f"dx takes what comes through the {name} alone", PRODUCTS, DX,
              DX.replace("product(da_x", f"product(only_block(da_x, {k}, len(cell.input_blocks))"), needs=("lstm",))
      for k, name in enumerate(GATES.values())),
    *(Mistake(f"dh_{{t-1}} takes what comes through the {name} alone", LOOP, PRODUCT,
              PRODUCT.replace("cell.recurrent_blocks)", f"cell.recurrent_blocks), {k}, K)"),
              more=(Edit(LOOP, "dproduct = product(gates", "dproduct = product(only_block(gates"),), needs=("lstm",))
      for k, name in enumerate(GATES.values())),
    Mistake("the output gate's gradient takes dy alone, not what was carried", LOOP, OUT,
            f"out = (*out[:3], out[3] * dy[t, ...] / dstate[0], *out[4:])\n        {OUT}", needs=("lstm", "outputs")),
    *(Mistake(f"{what} one step late: {which}", LOOP, BACK, f"{BACK}        late = {late}\n",
              more=(Edit(LOOP, CARRIED, f"        dstate = new if t else {state}\n    dx"),), needs=needs)
      for which, late in (("the gradients of the states of step 0", "(dstate[0] + (0 if dy is None else dy[t, ...]), "
                           "*dstate[1:])"), ("what step 1 gave", "dstate"))
      for what, state, needs in (("dh0 and dc0", "late", ()), ("dh0", "(late[0], *new[1:])", ("lstm",)))),
    *(Mistake(f"dh_{{t-1}} takes {rows} for W_hh", LOOP, PRODUCT, PRODUCT.replace("W_hh", ROWS[rows]))
      for rows in list(ROWS)[:2]),
    *(Mistake(f"dx takes {rows} for W_ih", PRODUCTS, DX, DX.replace('params["W_ih"]', ROWS[rows]))
      for rows in list(ROWS)[2:]),
    *(Mistake(f"gate {NAMES[k]} is given the bias of gate {NAMES[j]}", AROUND, READ,
              f'{READ}\n    params = each(params, "b", lambda b: with_block(b, {k}, block(b, {j})))', needs=("lstm",))
      for k in range(4) for j in range(4) if j != k),
    *(Mistake(f"gates {NAMES[k]} and {NAMES[j]} are given each other's bias", AROUND, READ,
              f'{READ}\n    params = each(params, "b", lambda b: with_block(with_block(b, {k}, block(b, {j})), {j}, '
              f"block(b, {k})))", needs=("lstm",))
      for k in range(4) for j in range(k)),
    *(Mistake(how, AROUND, GIVEN, f"    dy = dy * ({factor})[:, None]\n{GIVEN}", needs=("mask", "outputs"))
      for how, factor in OF_ROWS.items()),
    forward_and_back("tanh(c) is carried on, not c, forward and backward",
                     ("c = f * c_prev + i * g", "c = tanh(f * c_prev + i * g)"), ("h = o * tanh(c)", "h = o * c"),
                     ("tanh_c = tanh(c)\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
                      "tanh_c = c\n        dc = (dc + dh * o) * (one - c * c)")),
    forward_and_back("relu for the tanh of the candidate, forward and backward", ("g = tanh(a_g)", "g = relu(a_g)"),
                     (CANDIDATE, "da_g = dg * (g > 0)")),
    forward_and_back("relu for the tanh of c, forward and backward", ("h = o * tanh(c)", "h = o * relu(c)"),
                     ("tanh_c = tanh(c)\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
                      "tanh_c = relu(c)\n        dc = dc + dh * o * (c > 0)")),
    forward_and_back("relu for both tanh, forward and backward", ("g = tanh(a_g)", "g = relu(a_g)"),
                     ("h = o * tanh(c)", "h = o * relu(c)"), (CANDIDATE, "da_g = dg * (g > 0)"),
                     ("tanh_c = tanh(c)\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
                      "tanh_c = relu(c)\n        dc = dc + dh * o * (c > 0)")),
    forward_and_back("hard sigmoid a / 6 + 1/2 in the three gates, forward and backward",
                     *((f"{k} = sigmoid(a_{k})", f"{k} = hard_sigmoid(a_{k}, 1 / 6)") for k in "ifo"),
                     *((right, f"da_{k} = d{k} / 6 * (({k} > 0) & ({k} < 1))") for k, (right, _) in SIGMOID.items())),
    Mistake("RNN: relu for tanh, forward and backward", RNN, "n = tanh(a_n)", "n = relu(a_n)",
            more=(Edit(RNN, "da_n = dn * (one - n * n)", "da_n = dn * (n > 0)"),)),
    Mistake("RNN: the gradient has the wrong sign", RNN, "da_n = dn * (one - n * n)", "da_n = -dn * (one - n * n)"),
)  # fmt: skip


def decayed(rate: float, keys: tuple[str, ...] = ()) -> Mistake:
    """Weight decay in the gradient: of some keys of the layout, or of every weight."""
    name = f"weight decay of {rate:.6g} is in the gradients{' of ' + ', '.join(keys) if keys else ''}"
    chosen = f"k in {keys!r}" if keys else "k in case.weights"
    return Mistake(name, AROUND, THEIRS,
                   f"    answer = {{k: a + {rate!r} * case.weights[k] if {chosen} else a for k, a in answer.items()}}\n"
                   f"{THEIRS}")  # fmt: skip


def clipped_arrays(limit: float, how: str = "value") -> Mistake:
    """The gradients of the weights clipped after the loop, number by number or each array by its norm."""
    call = f"clipped(a, {limit!r})" if how == "value" else f"norm_clipped(a, {limit!r})"
    wrong = f"    answer = {{k: {call} if k in case.weights else a for k, a in answer.items()}}\n{THEIRS}"
    return Mistake(
        f"the gradients of the weights are clipped by {how} at {limit:.6g}, after the loop", AROUND, THEIRS, wrong
    )
