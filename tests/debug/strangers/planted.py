"""Programs as people write them, and mistakes to plant in each: a right line, the wrong one, and the mistake's name.

The programs know nothing of lstmcore. Each, run by itself, leaves a `case`; some also what they saw inside, `steps`.
C, JavaScript and Octave are run where there are gcc, Node and octave-cli.
"""

import json
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = {".c": "gcc", ".js": "node", ".m": "octave-cli"}

C_NOW = "c_t for c_{t-1} in the forget gate"
NO_CARRY = "the carry of dh is dropped"
NO_F = "the carry of dc forgets the forget gate"
NO_C = "what came along c is dropped"
H_NOW = "h_t for h_{t-1} in dW_hh"
NO_TANH = "tanh' of c is missing"
DROP = "the direct path to h_{t-1} is dropped"


def no_slope(gate):
    return f"sigma' of the {gate} gate is missing"


PLANTED = {
    "columns.py": [
        ("da_f = dc * c_old * f * (1 - f)", "da_f = dc * c * f * (1 - f)", C_NOW),
        ("    dh_next = dz[:n_h]\n", "", NO_CARRY),
        (" + np.dot(Wo.T, da_o)", "", "dh_{t-1} and dx miss what comes through the output gate"),
        ("dc_next = f * dc", "dc_next = dc", NO_F),
        ("dbf += da_f", "dbf += da_i", "db: gate f holds a copy of gate i"),
        ("da_i = dc * c_bar * i * (1 - i)", "da_i = dc * c_bar", no_slope("input")),
    ],
    "fused.py": [
        ("dnext_c = dnext_c + dnext_h * o *", "dnext_c = dnext_h * o *", NO_C),
        ("dag = dg * (1 - g * g)", "dag = dg * (1 - g)", "tanh' of the candidate without its square (1 - g)"),
        ("dWh += ph.T.dot(da)", "dWh += hs[:, t].T.dot(da)", H_NOW),
        ("dWx += xt.T.dot(da)", "dWx = xt.T.dot(da)",
         "dW_ih is overwritten at each step, not added up: only step 0 is left"),
        ("dnext_h * o * (1 - tanh_c * tanh_c)", "dnext_h * o * (1 - next_c * next_c)",
         "tanh' of c taken at c instead of tanh(c)"),
    ],
    "classes.py": [
        ("* th * o * (1 - o)", "* self.c[t + 1] * o * (1 - o)", "c for tanh(c) in the output gate"),
        ("dc * g * i * (1 - i)", "dc * g * i * (1 - i**2)", "sigma' of the input gate as s (1 - s^2)"),
        ("dh = dh + dout[t]", "dh = dh + dout[T - 1 - t]",
         "dy read in the order of the loop back (dy_{T-1-t} for dy_t)"),
        ("            dc = dc * f\n", "", NO_F),
    ],
    "lists.py": [
        ("s * tc * o[j] * (1 - o[j])", "s * tc * (1 - o[j] ** 2)", "tanh' where sigma' belongs (output gate)"),
        ("for t in range(T - 1, -1, -1):", "for t in range(T - 1, 0, -1):",
         "the loop back stops before the first step"),
        ("e = dc[j] + s * o[j] * (1 - tc * tc)", "e = (dc[j] + s * o[j]) * (1 - tc * tc)",
         "a parenthesis puts tanh' of c on what came along c too"),
    ],
    "joint.py": [
        ("d_bias += d_a.sum(axis=0)", "d_bias += d_a.mean(axis=0)", "db is averaged over the batch"),
        ("d_f = d_new * state * f * (1 - f)", "d_f = d_new * state", no_slope("forget")),
        ("d_j = d_new * i * (1 - j**2)", "d_j = d_new * i * (1 + j**2)", "tanh' of the candidate as 1 + g^2"),
    ],
    "plain_rnn.py": [
        ("dhraw = (1 - hs[t] * hs[t]) * dh", "dhraw = dh", "RNN: tanh' is missing"),
        ("np.dot(dhraw, hs[t - 1].T)", "np.dot(dhraw, hs[t].T)", H_NOW),
        ("dhnext = np.dot(Whh.T, dhraw)", "dhnext = np.dot(Whh, dhraw)", "W_hh not transposed on the way back"),
        ("dh = dys[t] + dhnext", "dh = dys[t]", NO_CARRY),
    ],
    "by_hand.c": [
        ("da[2 * H + j] = e * i *", "da[2 * H + j] = e * g *", "g for i in the product rule (dg)"),
        ("da[H + j] = e * c[t][j]", "da[H + j] = e * c[t + 1][j]", C_NOW),
    ],
    "browser.js": [
        ("const e = dh[j] + dy[t][j]", "const e = dh[j] + (t === T - 1 ? dy[t][j] : 0)",
         "only the last output has a gradient"),
        ("dc[j] = s * g.f[j]", "dc[j] = s", NO_F),
        ("da.o[j] = e * th *", "da.o[j] = e * c[t + 1][j] *", "c for tanh(c) in the output gate"),
    ],
    "characters.py": [
        ("df = dsig(f[t]) * dC * C[t - 1]", "df = dsig(f[t]) * dC * C[t]", C_NOW),
        ("    dC += dh * o[t] * dtanh(np.tanh(C[t]))", "    dC += dh * o[t] * dtanh(C[t])",
         "tanh' of c taken at c instead of tanh(c)"),
        ("    dh = dy[t] + dh_next", "    dh = dy[t]", NO_CARRY),
        ('g["db" + k] += d', 'g["db" + k] = d', "db is overwritten at each step, not added up: only step 0 is left"),
        ("case = {", "g = {k: np.clip(v, -0.3, 0.3) for k, v in g.items()}\ncase = {",
         "the gradients of the weights are clipped by value at 0.3, after the loop"),
        ("(df, di, dC_bar, do)", "(df, df, dC_bar, do)", "all of them: gate i holds a copy of gate f"),
        ("dC += dh * o[t]", "dC = dh * o[t]", NO_C),
        ("    dC += dh * o[t] * dtanh(np.tanh(C[t]))", "    dC += dh * o[t] * dsig(np.tanh(C[t]))",
         "tanh' of c as sigma', s (1 - s)"),
    ],
    "course.py": [
        ("dft = (dc_next * c_prev + ot * (1 - np.square(np.tanh(c_next))) * c_prev * da_next) * ft * (1 - ft)",
         "dft = (dc_next * c_prev + ot * (1 - np.square(np.tanh(c_next))) * c_prev * da_next * ft * (1 - ft))",
         "a parenthesis leaves sigma' of the forget gate off what came along c, after its product"),
        ("dot = da_next * np.tanh(c_next) * ot * (1 - ot)", "dot = da_next * np.tanh(c_next)", no_slope("output")),
        ("da[:, :, t] + da_prevt", "da[:, :, t]", NO_CARRY),
        ("dc_prev = dc_next * ft + ot * (1 - np.square(np.tanh(c_next))) * ft * da_next", "dc_prev = dc_next * ft",
         "the carry of dc leaves out what came through h"),
        (' + W["Wo"][:, n_a:].T @ dot\n', "\n", "dx misses what comes through the output gate"),
    ],
    "einsum.py": [
        ("np.stack([dc * g, dc * c[t],", "np.stack([dc * g, dc * c[t + 1],", C_NOW),
        ('np.einsum("tgbh,tbk->ghk", da, h[:-1])', 'np.einsum("tgbh,tbk->ghk", da, h[1:])', H_NOW),
        ("    dc = dc * f\n", "", NO_F),
        ("dc = dc + dh * o * (1 - s**2)", "dc = dc + dh * o", NO_TANH),
        ("dh * s, dc * i]", "dh * c[t + 1], dc * i]", "c for tanh(c) in the output gate"),
    ],
    "tape.py": [
        ('"cell": (dc * s.i, s.g)', '"cell": (dc * s.g, s.g)', "g for i in the product rule (dg)"),
        ("dc = dc + dh * s.o * (1 - s.tanh_c**2)", "dc = dh * s.o * (1 - s.tanh_c**2)", NO_C),
        ("self.db += grad.sum(axis=0)", "self.db += grad.mean(axis=0)", "db is averaged over the batch"),
    ],
    "nodes.py": [
        ("self.bottom_diff_s = ds * self.f", "self.bottom_diff_s = ds", NO_F),
        ('"i": self.i * (1 - self.i) * di', '"i": (1 - self.i) * di', "sigma' of the input gate without its factor s"),
        ("df = self.s_prev * ds", "df = self.s * ds", C_NOW),
        ("do = np.tanh(self.s) * top_diff_h", "do = self.s * top_diff_h", "c for tanh(c) in the output gate"),
    ],
    "fortran.py": [
        ("    dC *= f\n", "", NO_F),
        ("dH += DY[..., t]", "dH = DY[..., t].copy()", NO_CARRY),
        ('dA[order["g"]] = dC * i * (1 - g**2)', 'dA[order["g"]] = dC * i', "tanh' of the candidate is missing"),
    ],
    "torch_tensors.py": [
        ('grad["bias_hh_l0"] += dpre.sum(0)', "pass", "the second bias gets no gradient (zero)"),
        ("dc = dc.addcmul(dh * o, 1 - tc.pow(2))", "dc = dc.addcmul(dh, 1 - tc.pow(2))",
         "the output gate is left out on the way from h into c"),
        ("addmm_(dpre.t(), hs[t])", "addmm_(dpre.t(), hs[t + 1])", H_NOW),
    ],
    "torch_function.py": [
        ("return da @ W.t(), da @ U.t(), dc * f,", "return da @ W.t(), da @ U.t(), dc,", NO_F),
        ("dc = dc + dh * o * (1 - th * th)", "dc = dc + dh * o * (1 - new * new)",
         "tanh' of c taken at c instead of tanh(c)"),
        ("dc * i * (1 - g * g)", "dc * i * g * (1 - g)", "sigma' where tanh' belongs (candidate)"),
    ],
    "jax_scan.py": [
        ("return (da @ params[\"wh\"].T, dc * f, grads)", "return (da @ params[\"wh\"].T, dc, grads)", NO_F),
        ("dc * c * f * (1 - f)", "dc * new_c * f * (1 - f)", C_NOW),
    ],
    "folded.py": [
        ("dc = dc + dh * o * (1 - t**2)", "dc = dc + dh * o * (1 - t)", "tanh' of c without its square (1 - tanh(c))"),
        ("dc * c * f * (1 - f)", "dc * c * f", "sigma' of the forget gate without its factor 1 - s"),
        ("return da @ U.T, dc * f,", "return da @ U.T, dc * i,",
         "the carry of dc takes the input gate for the forget gate"),
        ("dc * i * (1 - g**2)", "-dc * i * (1 - g**2)", "the candidate's gradient has the wrong sign"),
        ('"b": sum(da.sum(0) for da in das)', '"b": sum(da.sum(0) for da in das) / len(das)',
         "db is averaged over time"),
    ],
    "stacked.py": [
        ("d, tc = dh[n] + above", "d, tc = above", NO_CARRY),
        ("s * c[n, t] * f * (1 - f)", "s * c[n, t + 1] * f * (1 - f)", C_NOW),
        ("d * tc * o * (1 - o)]", "d * tc * (o * (1 - o) if n else 1)]", no_slope("output") + " (in layer 0 alone)"),
        ("d * tc * o * (1 - o)]", "d * tc * (1 if n else o * (1 - o))]", no_slope("output") + " (in layer 1 alone)"),
    ],
    "both_ways.py": [
        ("dx = dx + bw.back(dy[::-1, :, 4:])[::-1]", "dx = dx + bw.back(dy[::-1, :, 4:])",
         "dx of the backward direction is not turned back in time"),
        ("dh, dc = da @ self.Wh, dc * f", "dh, dc = da @ self.Wh, dc", NO_F),
        ("dc * g * i * (1 - i)", "dc * i * i * (1 - i)", "i for g in the product rule (di)"),
    ],
    "padded.py": [
        ("dh = da @ Wh.T + (1 - mt) * dh", "dh = da @ Wh.T",
         "the gradient of h stops at a masked step, that of c does not"),
        ("dc = dc_new * f + (1 - mt) * dc", "dc = dc_new + (1 - mt) * dc", NO_F),
        ("da[:, H : 2 * H] = dc_new * c * f * (1 - f)", "da[:, H : 2 * H] = dc_new * c_new * f * (1 - f)", C_NOW),
    ],
    "last_only.py": [
        ("dlast = 2 * (Hid[-1] - target) / n\ndh, dc = dlast,", "dlast = 2 * (Hid[-1] - target) / n\ndh, dc = dlast / n,",
         "all gradients are averaged over the batch"),
        ('a["f"] = dc * C[t - 1] *', 'a["f"] = dc * C[t] *', C_NOW),
        ("dh = a[\"f\"] @ U_f.T + a[\"i\"] @ U_i.T", "dh = a[\"i\"] @ U_i.T",
         "dh_{t-1} misses what comes through the forget gate"),
    ],
    "kernels.py": [
        ("dz1 = dc * c * f * (1 - f)", "dz1 = dc * c_t * f * (1 - f)", C_NOW),
        ("dr += h.T @ dz", "dr += np.dot(h.T, dz) / B", "dW_hh is averaged over the batch"),
        ("dh = dz @ recurrent_kernel.T", "dh = dz @ kernel.T", "W_ih for W_hh on the way back to h_{t-1}"),
    ],
    "samples.py": [
        ("dh_next = sum(weights[\"Wh\" + g].T @ d[g] for g in d)",
         "dh_next = sum(weights[\"Wh\" + g] @ d[g] for g in d)", "W_hh not transposed on the way back, block by block"),
        ('"f": dc * cs[t - 1] *', '"f": dc * cs[t] *', C_NOW),
        ("dh_next, dc_next = np.zeros(hidden), np.zeros(hidden)\n    for t in np.arange(length)[::-1]",
         "dh_next, dc_next = np.zeros(hidden), np.zeros(hidden)\n    for t in np.arange(1, length)[::-1]",
         "the loop back stops before the first step"),
    ],
    "gathered.py": [
        ("S[t][f_] = dc * c[t]", "S[t][f_] = dc * c[t + 1]", C_NOW),
        ("S[t][g_] = dc * gate[i_]", "S[t][g_] = dc * gate[g_]", "g for i in the product rule (dg)"),
        ("dc = dc * gate[f_]", "dc = dc * gate[i_]", "the carry of dc takes the input gate for the forget gate"),
    ],
    "textbook.py": [
        ("dF = dC * C_old * F * (1 - F)", "dF = dC * C * F * (1 - F)", C_NOW),
        ("dO = dH * np.tanh(C) * O * (1 - O)", "dO = dH * np.tanh(C) * O", "sigma' of the output gate without its factor 1 - s"),
        (" + dT @ W_xc.T)", ")", "dx misses what comes through the candidate"),
        ("dC = dC * F\n", "dC = dC\n", NO_F),
        ("dT = dC * I * (1 - C_tilda**2)", "dT = dC * C_tilda * (1 - C_tilda**2)", "g for i in the product rule (dg)"),
    ],
    "gru_names.py": [
        ("dz = dh * (hs[t] - n)", "dz = dh * (n - hs[t])", "GRU: the update gate the wrong way round"),
        ("np.hstack([dar, daz, dan * r])", "np.hstack([dar, daz, dan])", "GRU: the reset gate is left out of dm"),
        ("dr = dan * m", "dr = dan * hs[t]", "GRU: h_{t-1} for the recurrent part in dr"),
        ("dh = dh * z + dgh @ wh", "dh = dgh @ wh", "GRU: the direct path to h_{t-1} is dropped"),
    ],
    "gru_keras.py": [
        ("dhh = dh * (1 - z) * (1 - hh**2)", "dhh = dh * (1 - z)", "GRU: tanh' of the candidate is missing"),
        ("dz = dh * (h - hh) * z * (1 - z)", "dz = dh * (h - hh)", "GRU: sigma' of the update gate is missing"),
        ("dh = dh * z + from_h @ R.T", "dh = dh * (1 - z) + from_h @ R.T", "GRU: the direct path takes 1 - z"),
    ],
    "gru_gates.py": [
        ("dr = dm * us[t] * r * (1 - r)", "dr = dm * us[t]", "GRU: sigma' of the reset gate is missing"),
        ("dm = dh * (1 - z) * (1 - m * m)", "dm = dh * z * (1 - m * m)", "GRU: dn takes z for 1 - z"),
        ("dr = dm * us[t] *", "dr = dm * m *", "GRU: n for the recurrent part in dr"),
    ],
    "rnn_batch.py": [
        ("da = dnext_h * (1 - next_h**2)", "da = dnext_h * (1 - next_h)", "RNN: tanh' without its square"),
        ("db += gb", "db += gb / N", "db is averaged over the batch"),
        ("dh_all[:, t] + dprev", "dh_all[:, t]", NO_CARRY),
    ],
    "rnn_lists.py": [
        ("(1 - s[t][j] ** 2)", "(1 - math.tanh(s[t][j]) ** 2)", "RNN: tanh' of the activated value again"),
        ("e[j] * s[t - 1][k]", "e[j] * s[t][k]", H_NOW),
        ("carried = [sum(W[j][k] * e[j]", "carried = [sum(W[k][j] * e[j]", "W_hh not transposed on the way back"),
    ],
    "gru_by_hand.c": [
        ("dn = d * (1 - z[t][j]) * (1 - n[t][j] * n[t][j])", "dn = d * (1 - z[t][j])",
         "GRU: tanh' of the candidate is missing"),
        ("next[j] += d * z[t][j];", "", "GRU: the direct path to h_{t-1} is dropped"),
        ("dz = d * (h[t][j] - n[t][j])", "dz = d * (n[t][j] - h[t][j])", "GRU: the update gate the wrong way round"),
    ],
    "rnn_typed.js": [
        ("carry = next;", "", NO_CARRY),
        ("* (1 - v * v);", ";", "RNN: tanh' is missing"),
    ],
    "hard_gates.py": [("dc * c[t] * inside(f)", "dc * c[t + 1] * inside(f)", C_NOW)],
    "rectified.py": [("dh, dc = dxh[:, :I], dxh[:, I:], dc * f", "dh, dc = dxh[:, :I], dxh[:, I:], dc", NO_F)],
    "peepholes.py": [
        ("daf, dag = dc * g * i * (1 - i), dc * c * f * (1 - f)", "daf, dag = dc * g * i * (1 - i), dc * new * f * (1 - f)", C_NOW),
        ("dU += da.T @ h", "dU += da.T @ y[t]", H_NOW),
    ],
    "projected.py": [("dr, dc = da @ Wh.T, dc * f", "dr, dc = da @ Wh.T, dc", NO_F)],
    "coupled.py": [("dh, dxs[t], dc = dz[:n_h], dz[n_h:], dc * f", "dh, dxs[t], dc = 0, dz[n_h:], dc * f", NO_CARRY)],
    "gru_cho.py": [
        ("dz = dh * (h - n) * z * (1 - z)", "dz = dh * (n - h) * z * (1 - z)", "GRU: the update gate the wrong way round"),
        ("dr = drh * h * r * (1 - r)", "dr = drh * h", "GRU: sigma' of the reset gate is missing"),
    ],
    "gru_joint.py": [("dn = dh * z * (1 - n**2)", "dn = dh * z", "GRU: tanh' of the candidate is missing")],
    "printed.py": [
        ("dc * c[t] * f * (1 - f)", "dc * c[t + 1] * f * (1 - f)", C_NOW),
        ("dh = U.T @ da", "dh = np.zeros(H, F)", NO_CARRY),
        ("dU += np.outer(da, h[t])", "dU += np.outer(da, h[t + 1])", H_NOW),
    ],
    "matrices_of_steps.py": [
        ("dc * Cs[:, t - 1 : t] * f", "dc * Cs[:, t : t + 1] * f", C_NOW),
        ('dhn = dhn + M["Wh" + k].T @ d[k]', 'dhn = dhn + M["Wh" + k] @ d[k]',
         "W_hh not transposed on the way back, block by block"),
        ("dcn = dc * f", "dcn = dc", NO_F),
    ],
    "keras_three.py": [
        ("dc * c * slope(zf)", "dc * c_new * slope(zf)", C_NOW),
        ("gr += h.T @ dz", "gr += h.T @ dz / B", "dW_hh is averaged over the batch"),
        ("recurrent_kernel.T, dc * act(zf)", "recurrent_kernel.T, dc", NO_F),
        ("slope = lambda v: ((v > -3) & (v < 3)) / 6", "slope = lambda v: act(v) * (1 - act(v))",
         "hard sigmoid a / 6 + 1/2 in the three gates, but the way back is that of the plain step"),
    ],
    "square.py": [
        ("(1 - np.tanh(cn) ** 2)", "(1 - cn**2)", "tanh' of c taken at c instead of tanh(c)"),
        ("db += d.sum(0)", "db = d.sum(0)", "db is overwritten at each step, not added up: only step 0 is left"),
        ("dh = dz[:, N:]", "dh = dz[:, :N]", "W_ih for W_hh on the way back to h_{t-1}"),
    ],
    "graves.py": [
        ("dc * c * f * (1 - f)", "dc * n * f * (1 - f)", C_NOW),
        (' + do * P["W_co"]\n', "\n", "peepholes: dc misses what comes through the output gate"),
        ("(do * n).sum(0)", "(do * c).sum(0)", "peepholes: c_{t-1} for c_t in the output gate's"),
        ('dc = dc * f + di * P["W_ci"]', 'dc = dc + di * P["W_ci"]', NO_F),
    ],
    "six_matrices.py": [
        ("dc = dc * (1 - i)", "dc = dc * i", "the carry of dc takes the input gate for the forget gate"),
        ("dc * (g - c) * i", "dc * g * i", "coupled gates: the input gate misses what comes through the other"),
        ("dc * i * (1 - g**2)", "dc * i * (1 - g)", "tanh' of the candidate without its square (1 - g)"),
    ],
    "gru_two.py": [
        ("dz = dh * (n - hp)", "dz = dh * (hp - n)", "GRU: the update gate the wrong way round"),
        ("dhp = dh * (1 - z) + drh * r", "dhp = dh * (1 - z) + drh", "GRU: the reset gate is left out of dh_{t-1}"),
        ('("h", dn, r * hp)', '("h", dn, hp)', "GRU: the reset gate is left out of dW_hn (h_{t-1} for r h_{t-1})"),
        ("dn = dh * z * (1 - n * n)", "dn = dh * z", "GRU: tanh' of the candidate is missing"),
    ],
    "gru_float32.py": [
        ("dr = dn * m * r", "dr = dn * h[t] * r", "GRU: h_{t-1} for the recurrent part in dr"),
        ("dh = dh * z + dhh @ w_hh", "dh = dhh @ w_hh", "GRU: the direct path to h_{t-1} is dropped"),
    ],
    "own_ways.py": [
        ("dxf + dxb[::-1]", "dxf + dxb", "dx of the backward direction is not turned back in time"),
        ("dc * c * f * (1 - f)", "dc * n * f * (1 - f)", C_NOW),
    ],
    "front.py": [
        ("k * c * f * (1 - f)", "k * n * f * (1 - f)", C_NOW),
        ("db += d.sum(0)", "db += d.mean(0)", "db is averaged over the batch"),
    ],
    "chunk.py": [
        ("dWh += d.T @ h\n", "dWh += d.T @ h if t else 0\n", "the first step is left out of dW_hh"),
        ("dh, dc = d @ weight_hh, dc * f", "dh, dc = d @ weight_hh, dc", NO_F),
    ],
    "half.py": [
        ("dc * c * f * (1 - f)", "dc * n * f * (1 - f)", C_NOW),
        ("db += d.sum(0)", "db += d.sum(0) / B", "db is averaged over the batch"),
    ],
    "objects.py": [
        ('p * c[t][j] * a["forget"]', 'p * c[t + 1][j] * a["forget"]', C_NOW),
        ('dc[j] = p * a["forget"][j]', "dc[j] = p", NO_F),
        ('d[g + "Hidden"][j][k] += e[g][j] * h[t][k]', 'd[g + "Hidden"][j][k] += e[g][j] * h[t + 1][k]', H_NOW),
    ],
    "normed_each.py": [
        ("dh, dc = d2 @ U.T, dc * f", "dh, dc = d2 @ U.T, dc", NO_F),
        ("dU += h.T @ d2", "dU += h.T @ d2 / B", "dW_hh is averaged over the batch"),
    ],
    "normed_free.py": [
        ("dc * g * i * (1 - i)", "dc * g * i", "sigma' of the input gate without its factor 1 - s"),
        ("dh, dc = d @ U.T, dc * f", "dh, dc = d @ U.T, dc", NO_F),
    ],
    "shelf.py": [
        ("do *= o * (1 - o)", "do *= f * (1 - f)", "f * (1 - f) for sigma' of the output gate"),
        ("df = ds * c_prev", "df = ds * f", "f for c_{t-1} in the forget gate"),
        ("(1 - tanh_c_next**2)", "(1 - tanh_c_next) ** 2", "tanh' of c as (1 - tanh(c))^2"),
        ("dg *= 1 - g**2", "dg *= (1 - g) ** 2", "tanh' of the candidate as (1 - g)^2"),
        ("grads[k] += grad", "grads[k] = grad",
         "all weight gradients are overwritten at each step: only step 0 is left"),
        ("np.hstack((df, dg, di, do))", "np.hstack((di, dg, df, do))",
         "the gates' gradients are stacked in the order f i g o, not i f g o"),
    ],
    "gru_shelf.py": [
        ("dh_prev += r * dhr", "dh_prev += dhr", "GRU: the reset gate is left out of dh_{t-1}"),
        ("dz = dh_next * h_hat - dh_next * h_prev", "dz = dh_next * h_hat + dh_next * h_prev",
         "GRU: dz adds h_{t-1} where it should take it off"),
        ("np.dot((r * h_prev).T, dt)", "np.dot(h_prev.T, dt)",
         "GRU: the reset gate is left out of dW_hn (h_{t-1} for r h_{t-1})"),
        ("dr = dhr * h_prev", "dr = dhr * h_hat", "GRU: n for h_{t-1} in dr"),
        ("dt = dh_hat * (1 - h_hat**2)", "dt = dh_hat * h_hat * (1 - h_hat)", "GRU: sigma' where tanh' belongs"),
        ("dt = dr * r * (1 - r)", "dt = dr * z * (1 - z)", "GRU: z * (1 - z) for sigma' of the reset gate"),
        ("    dh_prev += np.dot(dt, Whr.T)\n", "", "GRU: dh_{t-1} misses what comes through the reset gate"),
        ("dt = dz * z * (1 - z)", "dt = dz * (1 - z**2)", "GRU: sigma' of the update gate as tanh'"),
    ],
    "gru_pairs.py": [
        ("dh = dh * (1 - z) + drh * r +", "dh = dh * (1 - z) +",
         "GRU: dh_{t-1} misses what comes through the reset state"),
        ("drh = da @ War.T", "drh = da @ War", "GRU: W_hn not transposed on the way back"),
        ("drh * prev * r * (1 - r), dh", "drh * r * (1 - r), dh", "GRU: h_{t-1} is left out of dr"),
    ],
    "gru_deque.py": [
        ("dr = dn * m * r", "dr = dn * h * r", "GRU: h_{t-1} for the recurrent part in dr"),
        ("np.hstack([dz, dr, dn * r])", "np.hstack([dz, dr, dn * z])",
         "GRU: the update gate for the reset gate in dm"),
        ("dh * (h - n) * z", "dh * h * z", "GRU: n is left out of dz"),
        ("dc += dq.sum(0)", "dc += dp.sum(0)",
         "db_hn takes the gradient of the other bias: the reset gate is left out"),
        ("dn = dh * (1 - z) * (1 - n * n)", "dn = dh * (1 - n * n)", "GRU: 1 - z is left out of dn"),
        ("dr = dn * m * r * (1 - r)", "dr = dn * m * r", "GRU: sigma' of the reset gate without its factor 1 - s"),
    ],
    "gru_r.py": [
        ("d_hr * h * r * (1 - r)", "d_hr * h * r", "GRU: sigma' of the reset gate without its factor 1 - s"),
        ("delta = delta * (1 - z) + d_hr", "delta = delta + d_hr",
         "GRU: z is left out of the direct path to h_{t-1}"),
    ],
    "two_ways_gru.py": [
        ("dh = dh * z + rh * r + az", "dh = dh * z + rh + az", "GRU: the reset gate is left out of dh_{t-1}"),
    ],
    "gates_tree.py": [
        ("self.output.back(dh * tanh_c)", "self.output.back(dh * tanh_c * o)", "h for tanh(c) in the output gate"),
        ("self.dU += grad.T @ h", "self.dU = grad.T @ h",
         "dW_hh is overwritten at each step, not added up: only step 0 is left"),
        ("sum(p[1] for p in parts), dc * f", "sum(p[1] for p in parts[:3]), dc * f",
         "dh_{t-1} misses what comes through the candidate"),
        ('if self.squash == "tanh" else out * (1 - out))', 'if self.squash == "tanh" else 1 - out * out)',
         "tanh' where sigma' belongs, in all three gates"),
    ],
    "batch_last.py": [
        ("dc = dc + dh * o", "dc = dc * f + dh * o", "the carry of dc has the forget gate twice, f_t f_{t+1}"),
        ("dc * c_old * f", "dc * c_new * f", C_NOW),
        ("dv[I:], dc * f", "dv[I:], dc * o", "the carry of dc takes the output gate for the forget gate"),
        ("dW += delta @ v.T", "dW += delta @ v.T / B", "dW_ih and dW_hh are averaged over the batch"),
    ],
    "cell_names.py": [
        ('out["bias_hh"] += da.sum(0)', "pass", "the second bias gets no gradient (zero)"),
        ("do * o * (1 - o)]", "do * o * (1 - i)]", "o * (1 - i) for sigma' of the output gate"),
        ("di, df, dg = dc * g, dc * c, dc * i", "di, df, dg = dc * g, dc * c, dc * o",
         "o for i in the product rule (dg)"),
    ],
    "averaged.py": [
        ('P["W" + k].T for k in da)', 'P["W" + k].T for k in "ifo")',
         "dh_{t-1} and dx miss what comes through the candidate"),
        ('G["b" + k] += da[k].sum(0)', 'G["b" + k] += da[k].mean(0)', "db is averaged over the batch"),
        ("dc * i * (1 - g**2)", "dc * f * (1 - g**2)", "f for i in the product rule (dg)"),
    ],
    "rnn_elman.py": [
        ("dh * (1 - h[t] ** 2)", "dh * (1 - h[t]) ** 2", "RNN: tanh' of the state as (1 - n)^2"),
        ("dh * (1 - h[t] ** 2)", "dh * h[t] * (1 - h[t])", "RNN: sigma' where tanh' belongs"),
        ("dh * (1 - h[t] ** 2)", "dh * (1 - h[t - 1] ** 2)", "RNN: h_{t-1} for h_t in tanh'"),
        ("dh_next = W_hh.T @ dz", "dh_next = W_hh.T @ dh", "RNN: tanh' is left out on the way to h_{t-1}"),
    ],
    "mean_cell.py": [
        ('dc = dc * s["forget_gate"]', 'dc = dc * s["input_gate"]',
         "the carry of dc takes the input gate for the forget gate"),
        ('"dh0": dh, "dc0": dc', '"dh0": dc, "dc0": dh', "dh0 and dc0 swapped"),
        ('dc * s["c"] * s["forget_gate"]', 'dc * s["h"] * s["forget_gate"]',
         "h_{t-1} for c_{t-1} in the forget gate"),
        ('"cell_gate": dc * s["input_gate"] * (1 - s["cell_gate"] ** 2)', '"cell_gate": dc * s["input_gate"]',
         "tanh' of the candidate is missing"),
    ],
    "rows.m": [
        ("th = tanh(c(t + 1, :));", "th = c(t + 1, :);", "c for tanh(c) on the whole way back from h"),
        ("dc = dc .* f(t, :);", "dc = dc .* f(t, :) .* (1 - f(t, :));",
         "sigma' of the forget gate in the carry of dc"),
    ],
    "layers.py": [
        ("dc * c * f * (1 - f)", "dc * n * f * (1 - f)", C_NOW),
        ('dh, dc = d @ P[f"U{l}"].T, dc * f', 'dh, dc = d @ P[f"U{l}"].T, dc * f if l else dc', NO_F + " (in layer 0 alone)"),
    ],
}  # fmt: skip


def missing(program):
    """The tool that this program needs and that is not here; None if it can run."""
    tool = TOOLS.get(Path(program).suffix)
    return tool if tool and shutil.which(tool) is None else None


def run(program, folder, *edits):
    """The program's case, with lines replaced; what it saw inside is under "inside"."""
    text = (HERE / program).read_text()
    for right, wrong in edits:
        if text.count(right) != 1:
            raise ValueError(f"{program}: {right!r} should occur once; it occurs {text.count(right)} times")
        text = text.replace(right, wrong)
    if program.endswith(".py"):
        names = {}
        exec(compile(text, program, "exec"), names)
        return names["case"] | {"inside": names.get("steps")}
    source = Path(folder) / program
    source.write_text(text)
    command = ["node", source] if source.suffix == ".js" else ["octave-cli", "-q", source]
    if source.suffix == ".c":
        command = [source.with_suffix("")]
        subprocess.run(["gcc", "-O2", "-o", command[0], source, "-lm"], check=True)
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) | {"inside": None}
