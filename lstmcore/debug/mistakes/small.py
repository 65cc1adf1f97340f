"""Small mistakes: most shift the gradient by less than 1 %, and the loss falls as before."""

from lstmcore.debug.mistakes.loop import cut, truncated
from lstmcore.debug.mistakes.mistake import LOOP, LSTM, RNN, Mistake

SMALL = (
    cut(16),
    truncated(24),
    Mistake("gates stored in half precision", LOOP, "a[t, :, k, :] = gate",
            'a[t, :, k, :] = xp.astype(xp.astype(gate, "float16"), gate.dtype) if gate.dtype.kind == "f" else gate'),
    Mistake("the loop back runs in float32", LOOP, "da[t, :, k, :] = d",
            'da[t, :, k, :] = xp.astype(xp.astype(d, "float32"), d.dtype)'),
    Mistake("a floor under sigma'", LSTM, "da_f = df * f * (one - f)", "da_f = df * (f * (one - f) + 1e-4)"),
    Mistake("tanh' with an epsilon", LSTM, "da_g = dg * (one - g * g)", "da_g = dg * (one - g * g + 1e-3)"),
    Mistake("the forget gate's carry rounded up", LSTM, "dc_prev = dc * f", "dc_prev = dc * (f + 1e-3 * (one - f))"),
    Mistake("tanh(c) by its series in the backward", LSTM, "tanh_c = tanh(c)",
            "tanh_c = c * (15 + c * c) / (15 + 6 * c * c)"),
    Mistake("the output gate's gradient loses a little leak", LSTM, "do = dh * tanh_c", "do = dh * tanh_c * 0.998"),
    Mistake("RNN: tanh' with an epsilon", RNN, "da_n = dn * (one - n * n)", "da_n = dn * (one - n * n + 1e-3)"),
    Mistake("what is below 1e-4 is flushed to zero", LOOP, "da[t, :, k, :] = d",
            "da[t, :, k, :] = xp.where(abs(d) < 1e-4, xp.zeros_like(d), d)"),
    Mistake("dh0 misses the last unit of the first block", LOOP, "    dx, dparams = contract(",
            "    dstate = (dstate[0] - 1e-2 * da[0, :, 0, -1:] * W_hh[:, W_hh.shape[1] // K - 1], *dstate[1:])\n"
            "    dx, dparams = contract("),
)  # fmt: skip
