"""Mistakes of copying: a line taken from another gate and not changed throughout, or the slope of another function."""

from lstmcore.debug.mistakes.around_layers import NAMES, ORDERS
from lstmcore.debug.mistakes.mistake import GRU, LOOP, LSTM, RNN, Mistake
from lstmcore.debug.mistakes.step import CANDIDATE, GATES, INTO_C
from lstmcore.debug.mistakes.wild import OUT

TANH = {LSTM: ("g", "", CANDIDATE, GATES["g"]), GRU: ("n", "GRU: ", "da_n = dn * (one - n * n)", "candidate"),
        RNN: ("n", "RNN: ", "da_n = dn * (one - n * n)", "state")}  # fmt: skip
OF_GRU = {"r": "reset gate", "z": "update gate"}
STACKED = "for k, d in enumerate(da_t):"
DN, DZ = "dn = dh * (one - z)", "dz = dh * (h_prev - n)"
GRU_LINES = (
    ("h_{t-1} is left out of dz", DZ, "dz = -dh * n"),
    ("n is left out of dz", DZ, "dz = dh * h_prev"),
    ("dz adds n where it should take it off", DZ, "dz = dh * (h_prev + n)"),
    ("dz adds h_{t-1} where it should take it off", DZ, "dz = -dh * (h_prev + n)"),
    ("1 - z is left out of dn", DN, "dn = dh"),
    ("the reset gate for 1 - z in dn", DN, "dn = dh * r"),
    ("z is left out of the direct path to h_{t-1}", "dh_prev = dh * z", "dh_prev = dh"),
    ("the update gate for the reset gate in dm", "dm = da_n * r", "dm = da_n * z"),
    ("the recurrent part is left out of dr", "dr = da_n * m", "dr = da_n"),
    ("r m for m in dr", "dr = da_n * m", "dr = da_n * r * m"),
)
PARTNERS = (
    ("f for g in the product rule (di)", "di = dc * g", "di = dc * f"),
    ("o for g in the product rule (di)", "di = dc * g", "di = dc * o"),
    ("f for i in the product rule (dg)", "dg = dc * i", "dg = dc * f"),
    ("o for i in the product rule (dg)", "dg = dc * i", "dg = dc * o"),
    ("f for c_{t-1} in the forget gate", "df = dc * c_prev", "df = dc * f"),
    ("g for c_{t-1} in the forget gate", "df = dc * c_prev", "df = dc * g"),
    ("o for tanh(c) in the output gate", "do = dh * tanh_c", "do = dh * o"),
    ("g for tanh(c) in the output gate", "do = dh * tanh_c", "do = dh * g"),
    ("the input gate for the output gate on the way from h into c", INTO_C, INTO_C.replace("* o", "* i")),
    ("the forget gate for the output gate on the way from h into c", INTO_C, INTO_C.replace("* o", "* f")),
    ("tanh' of c as sigma', s (1 - s)", INTO_C, INTO_C.replace("(one - tanh_c * tanh_c)", "tanh_c * (one - tanh_c)")),
    ("c for tanh(c) on the whole way back from h", "tanh_c = tanh(c)", "tanh_c = c"),
    ("the carry of dc has the forget gate twice, f_t f_{t+1}", INTO_C, INTO_C.replace("dc + dh", "dc * f + dh")),
    ("the carry of dc takes the output gate for the forget gate", "dc_prev = dc * f", "dc_prev = dc * o"),
    ("sigma' of the forget gate in the carry of dc", "dc_prev = dc * f", "dc_prev = dc * f * (one - f)"),
)
SLOPE = "da_{k} = d{k} * {k} * (one - {k})"

COPIED = (
    *(Mistake(f"{of}{wrong.replace('one', '1')} for sigma' of the {name}", module, SLOPE.format(k=k),
              f"da_{k} = d{k} * {wrong}")
      for module, of, names in ((LSTM, "", {k: GATES[k] for k in "ifo"}), (GRU, "GRU: ", OF_GRU))
      for k, name in names.items() for j in names if j != k
      for wrong in (f"{j} * (one - {j})", f"{k} * (one - {j})", f"{j} * (one - {k})")),
    *(Mistake(f"{of}tanh' of the {name} as (1 - {k})^2", module, right, f"da_{k} = d{k} * (one - {k}) * (one - {k})")
      for module, (k, of, right, name) in TANH.items()),
    Mistake("tanh' of c as (1 - tanh(c))^2", LSTM, INTO_C,
            INTO_C.replace("one - tanh_c * tanh_c", "one - tanh_c) * (one - tanh_c")),
    *(Mistake(name, LSTM, right, wrong) for name, right, wrong in PARTNERS),
    *(Mistake(f"{h} for c_{{t-1}} in the forget gate", LOOP, OUT,
              f"out = (out[0], out[4] * (1 - cache.gates[t, :, 1, :]) * cache.states[0][{at}, ...], *out[2:])\n"
              f"        {OUT}", needs=("lstm",))
      for h, at in (("h_{t-1}", "t"), ("h_t", "t + 1"))),
    *(Mistake(f"GRU: {name}", GRU, right, wrong) for name, right, wrong in GRU_LINES),
    *(Mistake(f"GRU: sigma' of the {name} {how}", GRU, SLOPE.format(k=k), f"da_{k} = d{k} * {wrong.format(k=k)}")
      for k, name in OF_GRU.items()
      for how, wrong in (("without its factor 1 - s", "{k}"), ("without its factor s", "(one - {k})"),
                         ("taken of the activated value again", "sigmoid({k}) * (one - sigmoid({k}))"),
                         ("as tanh'", "(one - {k} * {k})"))),
    *(Mistake(f"{of}{how}", module, right, f"da_n = dn * {wrong}")
      for module, (_, of, right, name) in list(TANH.items())[1:]
      for how, wrong in (("sigma' where tanh' belongs", "n * (one - n)"), ("tanh' as 1 + n^2", "(one + n * n)"))),
    Mistake("GRU: tanh' of the activated value again", GRU, TANH[GRU][2], "da_n = dn * (one - tanh(n) * tanh(n))"),
    Mistake("GRU: tanh' without its square (1 - n)", GRU, TANH[GRU][2], "da_n = dn * (one - n)"),
    *(Mistake(f"the gates' gradients are stacked in the order {' '.join(order)}, not i f g o", LOOP, STACKED,
              STACKED.replace("da_t", f"[{', '.join(f'da_t[{NAMES.index(g)}]' for g in order)}]"), needs=("lstm",))
      for order in ORDERS),
    Mistake("GRU: the gates' gradients are stacked in the order z r n, not r z n", LOOP, STACKED,
            STACKED.replace("da_t", "[da_t[1], da_t[0], *da_t[2:]]"), needs=("gru",)),
    Mistake("RNN: tanh' is left out on the way to h_{t-1}", LOOP,
            "        dproduct = product(gates.join(da[t, ...], cell.recurrent_blocks), W_hh.T)",
            "        dproduct = product(dstate[0], W_hh.T)", needs=("rnn",)),
    Mistake("RNN: h_{t-1} for h_t in tanh'", LOOP, "        da_t, dprevious =",
            "        before, now = cache.states[0][t, ...], cache.states[0][t + 1, ...]\n"
            "        out = (out[0] * (1 - before * before) / (1 - now * now), *out[1:])\n"
            "        da_t, dprevious =", needs=("rnn",)),
)  # fmt: skip
