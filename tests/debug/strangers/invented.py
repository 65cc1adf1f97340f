"""Mistakes that stand in no catalogue, planted in strangers' programs: (program, right, wrong), and where it is wrong.

Of the place: arrays that are off, or those that are right, or the layer; the last step that is off; and, in a short
case that tells it, the gates that are off at that step.
"""

SHORT = ("N, T, D, H = 2, 6, 3, 4", "N, T, D, H = 1, 6, 3, 4")  # T B <= I + H + 1
OFF = ("Wx", "Wh", "b", "x")

FUSED = [  # of fused.py, whose gates are those of one layer
    ("dprev_h = da.dot(Wh.T)", "dprev_h = np.hstack((daf, dai, dao, dag)).dot(Wh.T)", OFF, 4, "ifgo"),
    ("o * (1 - tanh_c * tanh_c)", "o * (1 - tanh_c * tanh_c * (np.arange(H) != 2))", OFF, 5, "ifg"),
    (
        "dprev_h = da.dot(Wh.T)",
        "dprev_h = da[:, : 3 * H].dot(Wh[:, : 3 * H].T) + dag.dot(Wh[:, 3 * H :])",
        OFF,
        4,
        "ifgo",
    ),
    ("df = dnext_c * pc", "df = dnext_c * pc * (t % 2 == 0)", OFF, 5, "f"),
    ("dg = dnext_c * i", "dg = dnext_c * i * i", OFF, 5, "g"),
    ("dai = di * i * (1 - i)", "dai = di * i * (1 - f)", OFF, 5, "i"),
    ("dao = do * o * (1 - o)", "dao = do * o * (1 - o) ** 2", OFF, 5, "o"),
    ("dprev_c = dnext_c * f", "dprev_c = dnext_c * (f + 0.1)", OFF, 4, "ifg"),
    ("dh_all[:, t] + dprev_h", "dh_all[:, t] + 0.5 * dprev_h", OFF, 4, "ifgo"),
    ("tanh_c = np.tanh(next_c)", "tanh_c = np.tanh(next_c + 0.1)", OFF, 5, "ifgo"),
    ("dag = dg * (1 - g * g)", "dag = dg * (1 - np.abs(g))", OFF, 5, "g"),
    ("dai = di * i * (1 - i)", "dai = di * i * (1 - i) * (1 + (t == 2))", OFF, 2, "i"),
    ("dprev_h = da.dot(Wh.T)", "dprev_h = da.dot(Wh.T) * (1 + (t == 3))", OFF, 2, "ifgo"),
    ("daf = df * f * (1 - f)", "daf = df * f * (1 - f) * (np.arange(H) != 1)", OFF, 5, "f"),
    ("dnext_h = dh_all[:, t] + dprev_h", "dnext_h = np.abs(dh_all[:, t]) + dprev_h", OFF, 5, "ifgo"),
]
PRODUCTS = [  # what is off lies in one array
    ("fused.py", "dx[:, t] = da.dot(Wx.T)", "dx[:, t] = np.hstack((daf, dai, dao, dag)).dot(Wx.T)", "x", 5),
    ("fused.py", "dx[:, t] = da.dot(Wx.T)", "dx[:, t] = da.dot(Wx.T) + 0.01 * xt", "x", 5),
    ("fused.py", "dWx += xt.T.dot(da)", "dWx += caches[max(t - 1, 0)][0].T.dot(da)", "Wx", None),
    ("fused.py", "dWh += ph.T.dot(da)", "dWh += ph[::-1].T.dot(da)", "Wh", None),
    ("fused.py", "db += da.sum(axis=0)", "db += da[0] * N * (t > 0)", "b", None),
]
LAYERS = [  # what is off begins in one layer or direction
    ("both_ways.py", "bw.back(dy[::-1, :, 4:])", "bw.back(dy[::-1, :, 4:] ** 3)", ("bw",)),
    ("stacked.py", "d * tc * o * (1 - o)]", "d * tc * (o if n else o**3) * (1 - o)]", ("0",)),
    ("stacked.py", "s * c[n, t] * f * (1 - f)", "s * c[n, t] * (f * f if n else f) * (1 - f)", ("1",)),
]  # fmt: skip
