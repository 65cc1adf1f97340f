"""Mistakes around the loop: two directions, what the layers are given, and how gradients are handed over."""

from itertools import permutations

from lstmcore.debug.mistakes.mistake import AROUND, BOTH, GIVEN, OURS, READ, THEIRS, Edit, Mistake

FLIPPED = "return x[::-1, ...] if x is not None and is_array(x) and x.ndim else x"
BW_FORWARD = "turned(x), of_bw, turned(mask), rng, reuse and reuse.parts[1]"
IN_TIME = "return turned(y) if y is not None and y.ndim > 2 else y"
MASKED_DY = "dy = dy if mask is None else np.where(mask[..., None], dy, 0)"

BOTH_MISTAKES = (
    Mistake("the backward direction is not reversed", BOTH, FLIPPED, "return x", needs=("both",)),
    Mistake("the backward direction is reversed with its padding", BOTH, BW_FORWARD,
            "turned(x), of_bw, None, rng, reuse and reuse.parts[1]",
            more=(Edit(AROUND, GIVEN, f"    {MASKED_DY}\n{GIVEN}"),), needs=("both", "mask")),
    Mistake("the backward direction is reversed with its padding, whose outputs count", BOTH, BW_FORWARD,
            "turned(x), of_bw, None, rng, reuse and reuse.parts[1]", needs=("both", "mask")),
    Mistake("the backward direction's mask is not reversed", BOTH, BW_FORWARD,
            "turned(x), of_bw, mask, rng, reuse and reuse.parts[1]", needs=("both", "mask")),
    Mistake("the backward direction's outputs are not turned back in time", BOTH, IN_TIME, "return y",
            needs=("both",)),
    Mistake("dx of the backward direction is not turned back in time", BOTH, "dx_fw + turned(dx_bw)", "dx_fw + dx_bw",
            needs=("both",)),
    Mistake("dx misses the backward direction", BOTH, "dx_fw + turned(dx_bw)", "dx_fw", needs=("both",)),
    Mistake("dx misses the forward direction", BOTH, "dx_fw + turned(dx_bw)", "turned(dx_bw)", needs=("both",)),
    Mistake("dy of the two directions swapped", BOTH, "return dy[..., : widths[0]], dy[..., widths[0] :]",
            "return dy[..., widths[0] :], dy[..., : widths[0]]", needs=("both",)),
    Mistake("the backward direction's last output taken for its final state", AROUND, GIVEN,
            "    if case.dy.ndim == 2:\n        gates.split(dy, 2)[-1, :, 1] = gates.split(case.dy, 2)[:, 1]\n"
            f"        dstate[case.top[1]] = case.dstate[case.top[1]]\n{GIVEN}", needs=("both", "final")),
)  # fmt: skip

GIVEN_MISTAKES = (  # what the layers get
    Mistake("the mask is ignored", AROUND, GIVEN, f"    mask = None\n{GIVEN}", needs=("mask",)),
    Mistake("the state runs on through the padding, only the outputs are masked", AROUND, GIVEN,
            f"    {MASKED_DY}\n    mask = None\n{GIVEN}", needs=("mask",)),
    Mistake("the mask is inverted (true on padding)", AROUND, GIVEN, f"    mask = ~mask\n{GIVEN}", needs=("mask",)),
    Mistake("the mask is one step late", AROUND, GIVEN, f"    mask = later(mask)\n{GIVEN}", needs=("mask",)),
    Mistake("the mask is one step early", AROUND, GIVEN, f"    mask = later(mask, -1)\n{GIVEN}", needs=("mask",)),
    Mistake("the output at step T-1 taken for each row's last", AROUND, GIVEN,
            f"    if case.dy.ndim == 2:\n        dy[-1], dstate = case.dy, dict(case.dstate)\n{GIVEN}",
            needs=("final", "mask")),
    Mistake("h0 and c0 are ignored", AROUND, GIVEN,
            f"    state = {{name: 0 * s for name, s in state.items()}}\n{GIVEN}", needs=("state",)),
    Mistake("h0 is ignored", AROUND, GIVEN, f'    state = each(state, "h0", np.zeros_like)\n{GIVEN}',
            needs=("state",)),
    Mistake("c0 is ignored", AROUND, GIVEN, f'    state = each(state, "c0", np.zeros_like)\n{GIVEN}',
            needs=("state",)),
    Mistake("h0 and c0 swapped", AROUND, GIVEN, f'    state = swapped(state, "h0", "c0")\n{GIVEN}',
            more=(Edit(AROUND, OURS,
                       f'    grads |= swapped({{n: grads[n] for n in case.state}}, "h0", "c0")\n{OURS}'),),
            needs=("lstm", "state")),
    Mistake("the gradients of the final h and c swapped", AROUND, GIVEN,
            f'    dstate = swapped(dstate, "h0", "c0")\n{GIVEN}', needs=("lstm", "dstate")),
    Mistake("x reshaped, not transposed, from batch first", AROUND, GIVEN,
            f"    x = batch_first_reshaped(x)\n{GIVEN}",
            more=(Edit(AROUND, OURS, f'    grads["x"] = and_back(grads["x"])\n{OURS}'),)),
    Mistake("dy reshaped, not transposed, from batch first", AROUND, GIVEN,
            f"    dy = batch_first_reshaped(dy)\n{GIVEN}"),
    Mistake("a forget bias of 1 added at run time", AROUND, READ,
            f'{READ}\n    params = each(params, "b", lambda b: with_block(b, 1, block(b, 1) + 1))',
            needs=("lstm",)),
    Mistake("the forget bias of 1 is not added", AROUND, READ,
            f'{READ}\n    params = each(params, "b", lambda b: with_block(b, 1, block(b, 1) - 1))',
            needs=("lstm", "forget bias")),
    Mistake("the bias is not added", AROUND, READ, f'{READ}\n    params = each(params, "b", np.zeros_like)'),
    Mistake("the bias is added twice", AROUND, READ, f'{READ}\n    params = each(params, "b", lambda b: 2 * b)'),
    Mistake("the second bias is not added", AROUND, READ,
            READ.replace("(case)", "(case, gradients=True)"), needs=("two biases",)),
    Mistake("the first bias is not added", AROUND, READ,
            f"{READ}\n{READ.replace('params', 'first').replace('(case)', '(case, gradients=True)')}\n"
            '    params = {n: p - first[n] if n.rsplit(".")[-1] == "b" else p for n, p in params.items()}',
            needs=("two biases",)),
    Mistake("W_hh transposed, block by block, forward and backward", AROUND, READ,
            f'{READ}\n    params = each(params, "W_hh", blocks_transposed)',
            more=(Edit(AROUND, OURS, f'    grads = each(grads, "W_hh", blocks_transposed)\n{OURS}'),)),
    Mistake("W_ih and W_hh swapped, forward and backward", AROUND, READ,
            f'{READ}\n    params = swapped(params, "W_ih", "W_hh")',
            more=(Edit(AROUND, OURS, f'    grads = swapped(grads, "W_ih", "W_hh")\n{OURS}'),), needs=("square",)),
    Mistake("the weights of the two directions swapped", AROUND, READ,
            f'{READ}\n    params = swapped(params, "fw", "bw")',
            more=(Edit(AROUND, OURS, "    grads |= swapped({n: g for n, g in grads.items() if n not in case.state "
                       f'and n != "x"}}, "fw", "bw")\n{OURS}'),), needs=("both",)),
)  # fmt: skip


def _ours(name: str, wrong: str, *needs: str) -> Mistake:
    """A line put in before the gradients go into the program's layout."""
    return Mistake(name, AROUND, OURS, f"    {wrong}\n{OURS}", needs=needs)


def _lstm(name: str, wrong: str, *needs: str) -> Mistake:
    """The same with the four blocks or the two states of an LSTM."""
    return _ours(name, wrong, "lstm", *needs)


NAMES = "ifgo"
WEIGHTS = "W_ih W_hh b b_hn"
COPIES = {"b": "db", "W_ih": "dW_ih", "W_hh": "dW_hh", "W_ih W_hh": "dW_ih and dW_hh", "W_ih W_hh b": "all of them"}
KINDS = {"W_ih": "dW_ih", "W_hh": "dW_hh", "b": "db"}
SCALED = {"": "all gradients are", WEIGHTS: "the gradients of weights and biases, not dx, are",
          **{kind: f"{d} is" for kind, d in KINDS.items()}, "W_ih W_hh": "dW_ih and dW_hh are"}  # fmt: skip
HANDED_OVER = (
    *(_ours(f"{d}: gate {names[k]} holds a copy of gate {names[j]}",
            f'grads = each(grads, "{kinds}", lambda a: with_block(a, {k}, block(a, {j}, {K}), {K}))', cell)
      for cell, names in (("lstm", NAMES), ("gru", "rzn")) for K in [len(names)]
      for kinds, d in COPIES.items() if cell == "lstm" or "W_hh" not in kinds
      for k in range(K) for j in range(K) if j != k),
    _ours("db_hn takes the gradient of the other bias: the reset gate is left out",
          'grads |= {n: block(grads[n[:-3]], 2, 3) for n in grads if n.endswith("b_hn")}',
          "gru"),
    *(_lstm(f"{d}: gate {NAMES[k]} is missing (zero)",
            f'grads = each(grads, "{kind}", lambda a: with_block(a, {k}, 0))')
      for kind, d in KINDS.items() for k in range(4)),
    *(_ours(f"{d} is zero", f'grads = each(grads, "{kind}", np.zeros_like)')
      for kind, d in {**KINDS, "x": "dx", "h0": "dh0", "c0": "dc0"}.items()),
    *(_ours(f"{d} transposed, block by block", f'grads = each(grads, "{kind}", blocks_transposed)', *needs)
      for kind, d, needs in (("W_hh", "dW_hh", ()), ("W_ih", "dW_ih", ("square",)))),
    _ours("dW_ih and dW_hh swapped", 'grads = swapped(grads, "W_ih", "W_hh")', "square"),
    _lstm("dh0 and dc0 swapped", 'grads |= swapped({n: grads[n] for n in case.state}, "h0", "c0")'),
    _ours("the gradients of the two directions swapped",
          'grads |= swapped({n: g for n, g in grads.items() if n not in case.state and n != "x"}, "fw", "bw")', "both"),
    _ours("dx in the order of the loop back (reversed in time)", 'grads["x"] = grads["x"][::-1]'),
    _ours("dx reshaped, not transposed, into batch first and back", 'grads["x"] = batch_first_reshaped(grads["x"])'),
    *(_ours(f"{what} {how}", f'grads = each(grads, "{kind}", lambda a: {wrong})')
      for kind, what in SCALED.items()
      for how, wrong in (
          ("averaged over the batch", "a / case.x.shape[1]"),
          ("averaged over time", "a / case.x.shape[0]"),
          ("averaged over batch and time", "a / (case.x.shape[0] * case.x.shape[1])"),
          ("multiplied by the batch size", "a * case.x.shape[1]"),
          ("counted twice", "2 * a"), ("halved", "a / 2"), ("of the wrong sign", "-a"))),
    *(_ours(f"{what} averaged over the real steps",
            f'grads = each(grads, "{kind}", lambda a: a / case.mask.sum())', "mask")
      for kind, what in SCALED.items()),
    *(Mistake(f"{name} bias gets no gradient (zero)", AROUND, THEIRS,
              f"    answer = one_of_two(answer, case.layout, case.cell, {at}, 0)\n{THEIRS}", needs=("two biases",))
      for name, at in (("the second", 1), ("the first", 0))),
    Mistake("the two biases share the gradient, half each", AROUND, THEIRS,
            "    answer = one_of_two(answer, case.layout, case.cell, 0, 0.5)\n"
            f"    answer = one_of_two(answer, case.layout, case.cell, 1, 0.5)\n{THEIRS}", needs=("two biases",)),
    Mistake("the bias's gradient is counted twice in each of the two biases", AROUND, THEIRS,
            "    answer = one_of_two(answer, case.layout, case.cell, 0, 2)\n"
            f"    answer = one_of_two(answer, case.layout, case.cell, 1, 2)\n{THEIRS}", needs=("two biases",)),
    Mistake("the second bias is counted twice", AROUND, THEIRS,
            f"    answer = one_of_two(answer, case.layout, case.cell, 1, 2)\n{THEIRS}", needs=("two biases",)),
)  # fmt: skip


def scaled(factor: float, keys: tuple[str, ...] = ()) -> Mistake:
    """Every gradient, or those of some keys of the layout, times one factor."""
    name = f"{', '.join(keys) or 'every gradient'} is {factor:.6g} times the right one"
    chosen = f" if k in {keys!r} else a" if keys else ""
    return Mistake(f"{name} (clipped by its norm? averaged? a learning rate in it?)", AROUND, THEIRS,
                   f"    answer = {{k: {factor!r} * a{chosen} for k, a in answer.items()}}\n{THEIRS}")  # fmt: skip


def clipped_by_value(limit: float) -> Mistake:
    """Every gradient clipped."""
    wrong = f'grads = each(grads, "", lambda a: clipped(a, {limit!r}))'
    return _ours(f"the gradients are clipped by value at {limit:.6g}", wrong)


def turned_over(key: str) -> Mistake:
    """One array of the layout transposed."""
    return Mistake(f"the gradient of {key} is handed over transposed", AROUND, THEIRS,
                   f"    answer[{key!r}] = answer[{key!r}].T\n{THEIRS}")  # fmt: skip


ORDERS = tuple("".join(order) for order in permutations("ifgo") if "".join(order) != "ifgo")
READ_IN_ORDER = tuple(
    Mistake(f"gate blocks read in the order {' '.join(order)}, forward and backward", AROUND, READ,
            f'{READ}\n    params = in_order(params, "{order}")',
            more=(Edit(AROUND, OURS, f'    grads = out_of_order(grads, "{order}")\n{OURS}'),), needs=("lstm",))
    for order in ORDERS
)  # fmt: skip
HANDED_IN_ORDER = tuple(
    _lstm(f"{what} handed over in the gate order {' '.join(order)}",
          f'grads = out_of_order(grads, "{order}", "{kinds}")')
    for kinds, what in (("W_ih W_hh b", "gradients"), ("W_ih", "dW_ih"), ("W_hh", "dW_hh"), ("b", "db"))
    for order in ORDERS
)  # fmt: skip
