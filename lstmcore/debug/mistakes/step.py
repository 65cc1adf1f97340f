"""Mistakes inside the time step: derivatives of the activations, partners in products, paths left out."""

from lstmcore.debug.mistakes.mistake import GRU, LOOP, LSTM, PRODUCTS, RNN, Edit, Mistake

GATES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"}
SIGMOID = {k: (f"da_{k} = d{k} * {k} * (one - {k})", GATES[k]) for k in "ifo"}  # the right line of each gate
CANDIDATE = "da_g = dg * (one - g * g)"
SLOPES = {k: f"{k} * (one - {k})" for k in "ifo"} | {"g": "(one - g * g)"}
INTO_C = "dc = dc + dh * o * (one - tanh_c * tanh_c)"


def _all_sigmoids(name: str, wrong: str) -> Mistake:
    first, *more = [Edit(LSTM, right, wrong.replace("#", k)) for k, (right, _) in SIGMOID.items()]
    return Mistake(name, *first, more=tuple(more))


DERIVATIVES = (
    *(Mistake(f"sigma' of the {name} is missing", LSTM, right, f"da_{k} = d{k}")
      for k, (right, name) in SIGMOID.items()),
    *(Mistake(f"sigma' of the {name} taken of the activated value again", LSTM, right,
              f"da_{k} = d{k} * sigmoid({k}) * (one - sigmoid({k}))") for k, (right, name) in SIGMOID.items()),
    *(Mistake(f"tanh' where sigma' belongs ({name})", LSTM, right, f"da_{k} = d{k} * (one - {k} * {k})")
      for k, (right, name) in SIGMOID.items()),
    *(Mistake(f"sigma' of the {name} without its factor 1 - s", LSTM, right, f"da_{k} = d{k} * {k}")
      for k, (right, name) in SIGMOID.items()),
    *(Mistake(f"sigma' of the {name} without its factor s", LSTM, right, f"da_{k} = d{k} * (one - {k})")
      for k, (right, name) in SIGMOID.items()),
    _all_sigmoids("sigma' is missing in all three gates", "da_# = d#"),
    _all_sigmoids("sigma' taken of the activated value again, in all three gates",
                  "da_# = d# * sigmoid(#) * (one - sigmoid(#))"),
    _all_sigmoids("tanh' where sigma' belongs, in all three gates", "da_# = d# * (one - # * #)"),
    Mistake("tanh' of the candidate is missing", LSTM, CANDIDATE, "da_g = dg"),
    Mistake("tanh' of the candidate taken of the activated value again", LSTM, CANDIDATE,
            "da_g = dg * (one - tanh(g) * tanh(g))"),
    Mistake("sigma' where tanh' belongs (candidate)", LSTM, CANDIDATE, "da_g = dg * g * (one - g)"),
    Mistake("tanh' of the candidate without its square (1 - g)", LSTM, CANDIDATE, "da_g = dg * (one - g)"),
    Mistake("tanh' of c is missing", LSTM, INTO_C, "dc = dc + dh * o"),
    Mistake("tanh' of c taken at c instead of tanh(c)", LSTM, "(one - tanh_c * tanh_c)", "(one - c * c)"),
    Mistake("tanh' of c taken at h instead of tanh(c)", LSTM, "(one - tanh_c * tanh_c)",
            "(one - o * tanh_c * o * tanh_c)"),
    Mistake("tanh' of c without its square (1 - tanh(c))", LSTM, "(one - tanh_c * tanh_c)", "(one - tanh_c)"),
    Mistake("tanh(tanh(c)) in the derivative", LSTM, "tanh_c = tanh(c)", "tanh_c = tanh(tanh(c))"),
    Mistake("tanh(tanh(c)) in tanh' only", LSTM, "(one - tanh_c * tanh_c)", "(one - tanh(tanh_c) * tanh(tanh_c))"),
    Mistake("tanh(c_{t-1}) for tanh(c_t)", LSTM, "tanh_c = tanh(c)", "tanh_c = tanh(c_prev)"),
)  # fmt: skip

PARTNERS = (
    Mistake("c_t for c_{t-1} in the forget gate", LSTM, "df = dc * c_prev", "df = dc * c"),
    Mistake("tanh(c_{t-1}) for c_{t-1} in the forget gate", LSTM, "df = dc * c_prev", "df = dc * tanh(c_prev)"),
    Mistake("i for g in the product rule (di)", LSTM, "di = dc * g", "di = dc * i"),
    Mistake("g for i in the product rule (dg)", LSTM, "dg = dc * i", "dg = dc * g"),
    Mistake("i and g swapped in the product rule", LSTM, "di = dc * g", "di = dc * i",
            more=(Edit(LSTM, "dg = dc * i", "dg = dc * g"),)),
    Mistake("c for tanh(c) in the output gate", LSTM, "do = dh * tanh_c", "do = dh * c"),
    Mistake("c_{t-1} for tanh(c_t) in the output gate", LSTM, "do = dh * tanh_c", "do = dh * c_prev"),
    Mistake("h for tanh(c) in the output gate", LSTM, "do = dh * tanh_c", "do = dh * o * tanh_c"),
    Mistake("what came along c is dropped", LSTM, "dc = dc + dh * o", "dc = dh * o"),
    Mistake("what came through h into c is dropped", LSTM, INTO_C, "dc = dc"),
    Mistake("the output gate is left out on the way from h into c", LSTM, INTO_C,
            "dc = dc + dh * (one - tanh_c * tanh_c)"),
    Mistake("what came along c counted twice", LSTM, "dc = dc + dh * o", "dc = dc + dc + dh * o"),
    Mistake("the carry of dc forgets the forget gate", LSTM, "dc_prev = dc * f", "dc_prev = dc"),
    Mistake("the carry of dc takes the input gate for the forget gate", LSTM, "dc_prev = dc * f", "dc_prev = dc * i"),
    Mistake("the carry of dc takes f_t for f_{t+1}", LSTM, "dc = dc + dh * o", "dc = dc * f + dh * o",
            more=(Edit(LSTM, "dc_prev = dc * f", "dc_prev = dc"),)),
    Mistake("the carry of dc leaves out what came through h", LSTM, "dc_prev = dc * f",
            "dc_prev = (dc - dh * o * (one - tanh_c * tanh_c)) * f"),
    Mistake("the output gate's gradient takes what is on the way into c", LSTM, "do = dh * tanh_c",
            "do = dc * tanh_c"),
)  # fmt: skip


def forward_and_back(name: str, first: tuple[str, str], *more: tuple[str, str]) -> Mistake:
    """Another function computed, and rightly undone: pairs of a line and what stands in its place."""
    return Mistake(name, LSTM, *first, more=tuple(Edit(LSTM, right, wrong) for right, wrong in more))


def _forward(name: str, right: str, wrong: str, back: str, wrong_back: str) -> Mistake:
    return forward_and_back(name, (right, wrong), (back, wrong_back))


OTHER_CELLS = (
    _forward("sigmoid for the tanh of the candidate, forward and backward", "g = tanh(a_g)", "g = sigmoid(a_g)",
             CANDIDATE, "da_g = dg * g * (one - g)"),
    _forward("h = o c without tanh, forward and backward", "h = o * tanh(c)", "h = o * c",
             "tanh_c = tanh(c)\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
             "tanh_c = c\n        dc = dc + dh * o"),
    _forward("sigmoid for the tanh of c, forward and backward", "h = o * tanh(c)", "h = o * sigmoid(c)",
             "tanh_c = tanh(c)\n        dc = dc + dh * o * (one - tanh_c * tanh_c)",
             "tanh_c = sigmoid(c)\n        dc = dc + dh * o * tanh_c * (one - tanh_c)"),
    _forward("the input gate coupled as 1 - f, forward and backward", "i = sigmoid(a_i)", "i = one - sigmoid(a_f)",
             "da_i = di * i * (one - i)", "da_f = da_f - di * i * (one - i)\n        da_i = di - di"),
    _forward("the forget gate coupled as 1 - i, forward and backward", "f = sigmoid(a_f)", "f = one - sigmoid(a_i)",
             "da_i = di * i * (one - i)", "da_i = (di - df) * i * (one - i)\n        da_f = df - df"),
    _forward("no forget gate (f = 1), forward and backward", "f = sigmoid(a_f)", "f = one + (a_f - a_f)",
             SIGMOID["f"][0], "da_f = df - df"),
    _forward("tanh for the output gate's sigmoid, forward and backward", "o = sigmoid(a_o)", "o = tanh(a_o)",
             SIGMOID["o"][0], "da_o = do * (one - o * o)"),
    Mistake("hard sigmoid in the three gates, forward and backward", LSTM, "i = sigmoid(a_i)", "i = hard_sigmoid(a_i)",
            more=(Edit(LSTM, "f = sigmoid(a_f)", "f = hard_sigmoid(a_f)"),
                  Edit(LSTM, "o = sigmoid(a_o)", "o = hard_sigmoid(a_o)"),
                  *(Edit(LSTM, right, f"da_{k} = d{k} * 0.2 * (({k} > 0) & ({k} < 1))")
                    for k, (right, _) in SIGMOID.items()))),
    Mistake("tanh(c) computed twice going forward (h = o tanh(tanh(c)))", LSTM, "h = o * tanh(c)",
            "h = o * tanh(tanh(c))"),
)  # fmt: skip

GRU_AND_RNN = (
    Mistake("GRU: the update gate the wrong way round", GRU, "dz = dh * (h_prev - n)", "dz = dh * (n - h_prev)"),
    Mistake("GRU: z and 1 - z swapped, forward and backward", GRU, "h = (one - z) * n + z * h_prev",
            "h = z * n + (one - z) * h_prev",
            more=(Edit(GRU, "z, n, m, h_prev):", "z, n, m, h_prev):\n        z = one - z"),
                  Edit(GRU, "dn = dh * (one - z)", "dn = dh * (one - z)\n        z = one - z"),
                  Edit(GRU, "return da_r, da_z,", "return da_r, -da_z,"))),
    Mistake("GRU: the reset gate is left out of dm", GRU, "dm = da_n * r", "dm = da_n"),
    Mistake("GRU: the direct path to h_{t-1} is dropped", GRU, "dh_prev = dh * z", "dh_prev = dh * (z - z)"),
    Mistake("GRU: the direct path takes 1 - z", GRU, "dh_prev = dh * z", "dh_prev = dh * (one - z)"),
    Mistake("GRU: tanh' of the candidate is missing", GRU, "da_n = dn * (one - n * n)", "da_n = dn"),
    Mistake("GRU: sigma' of the update gate is missing", GRU, "da_z = dz * z * (one - z)", "da_z = dz"),
    Mistake("GRU: sigma' of the reset gate is missing", GRU, "da_r = dr * r * (one - r)", "da_r = dr"),
    Mistake("GRU: h_{t-1} for the recurrent part in dr", GRU, "dr = da_n * m", "dr = da_n * h_prev"),
    Mistake("GRU: n for the recurrent part in dr", GRU, "dr = da_n * m", "dr = da_n * n"),
    Mistake("GRU: dn takes z for 1 - z", GRU, "dn = dh * (one - z)", "dn = dh * z"),
    Mistake("RNN: tanh' is missing", RNN, "da_n = dn * (one - n * n)", "da_n = dn"),
    Mistake("RNN: tanh' of the activated value again", RNN, "da_n = dn * (one - n * n)",
            "da_n = dn * (one - tanh(n) * tanh(n))"),
    Mistake("RNN: tanh' without its square", RNN, "da_n = dn * (one - n * n)", "da_n = dn * (one - n)"),
)  # fmt: skip

DX_LINE = 'dx = xp.reshape(product(da_x, params["W_ih"].T), (T, B, I))'
H_LINE = "        dproduct = product(gates.join(da[t, ...], cell.recurrent_blocks), W_hh.T)"
JOINED = "gates.join(da[t, ...], cell.recurrent_blocks)"
PATHS = tuple(
    mistake
    for cell, of, names in (("lstm", "", GATES.values()), ("gru", "GRU: ", ("reset gate", "update gate", "candidate")))
    for k, name in enumerate(names)
    for into_h, into_x in [(
        Edit(LOOP, H_LINE, H_LINE.replace(JOINED,
                                          f"without_block({JOINED}, {k}, len(cell.recurrent_blocks))")),
        Edit(PRODUCTS, DX_LINE, DX_LINE.replace("da_x", f"without_block(da_x, {k}, len(cell.input_blocks))")),
    )]
    for mistake in (
        Mistake(f"{of}dh_{{t-1}} misses what comes through the {name}", *into_h, needs=(cell,)),
        Mistake(f"{of}dx misses what comes through the {name}", *into_x, needs=(cell,)),
        Mistake(f"{of}dh_{{t-1}} and dx miss what comes through the {name}", *into_h, more=(into_x,), needs=(cell,)),
    )
)  # fmt: skip
