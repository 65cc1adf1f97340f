"""Mistakes on the lines that variants alone have: peepholes, coupled gates, a GRU's reset gate before the product."""

from lstmcore.debug.mistakes.mistake import Edit, Mistake

LSTMS, GRUS = "lstmcore.ops.cells.lstm_variants", "lstmcore.ops.cells.gru_variants"
GATES = {"i": "input gate", "f": "forget gate"}
INTO_C, INTO_I, INTO_F = "dc = dc + da_o * p_o", "dc_prev = dc_prev + da_i * p_i", "dc_prev = dc_prev + da_f * p_f"
SEEN = "dh_prev = dh_prev + dq * r"


def _peephole(name: str, right: str, wrong: str, *more: Edit) -> Mistake:
    return Mistake(f"peepholes: {name}", LSTMS, right, wrong, more, needs=("lstm", "peepholes"))


def _coupled(name: str, right: str, wrong: str) -> Mistake:
    return Mistake(f"coupled gates: {name}", LSTMS, right, wrong, needs=("lstm", "coupled"))


def _before(name: str, right: str, wrong: str) -> Mistake:
    return Mistake(f"GRU: {name}", GRUS, right, wrong, needs=("gru", "reset"))


VARIANT_MISTAKES = (
    _peephole("dc misses what comes through the output gate", INTO_C, "dc = dc"),
    _peephole("dc_{t-1} misses what comes through the input gate", INTO_I, "dc_prev = dc_prev"),
    _peephole("dc_{t-1} misses what comes through the forget gate", INTO_F, "dc_prev = dc_prev"),
    _peephole("dc_{t-1} misses what comes through input and forget gate", INTO_I, "dc_prev = dc_prev",
              Edit(LSTMS, INTO_F, "dc_prev = dc_prev")),
    _peephole("nothing comes back through them into c", INTO_C, "dc = dc", Edit(LSTMS, INTO_I, "dc_prev = dc_prev"),
              Edit(LSTMS, INTO_F, "dc_prev = dc_prev")),
    _peephole("c_{t-1} for c_t in the output gate's", "dp_o = da_o * c", "dp_o = da_o * c_prev"),
    *(_peephole(f"c_t for c_{{t-1}} in the {name}'s", f"dp_{k} = da_{k} * c_prev", f"dp_{k} = da_{k} * c")
      for k, name in GATES.items()),
    _peephole("c_t for c_{t-1} in those of input and forget gate", "dp_i = da_i * c_prev", "dp_i = da_i * c",
              Edit(LSTMS, "dp_f = da_f * c_prev", "dp_f = da_f * c")),
    *(_coupled(f"the {name} misses what comes through the other", right, right.split(" - ")[0])
      for right, name in (("di = di - df", "input gate"), ("df = df - di", "forget gate"))),
    *(_coupled(f"what comes through the other has the wrong sign in the {name}", right, right.replace(" - ", " + "))
      for right, name in (("di = di - df", "input gate"), ("df = df - di", "forget gate"))),
    _before("dh_{t-1} misses what comes through the reset state", SEEN, "dh_prev = dh_prev"),
    _before("the reset gate is left out of dh_{t-1}", SEEN, "dh_prev = dh_prev + dq"),
    _before("the reset gate is left out of dW_hn (h_{t-1} for r h_{t-1})", "dW_hn = (r * h_prev).T @ da_n",
            "dW_hn = h_prev.T @ da_n"),
    _before("W_hn not transposed on the way back", "dq = da_n @ W_hn.T", "dq = da_n @ W_hn"),
    _before("h_{t-1} is left out of dr", "dr = dq * h_prev", "dr = dq"),
    _before("n for h_{t-1} in dr", "dr = dq * h_prev", "dr = dq * n"),
    _before("r h_{t-1} for h_{t-1} in dr", "dr = dq * h_prev", "dr = dq * r * h_prev"),
)  # fmt: skip
