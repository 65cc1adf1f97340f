"""The three lines with which the README begins, and what it shows of an answer, over somebody's own code."""

import re
from pathlib import Path

import lstmcore as lc

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
TORCH, ARRAYS = re.findall(r"^```py\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHOWN = README.split("its equation:\n\n```\n")[1].split("```")[0]


def test_three_lines_with_torch(torch, capsys):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ih, self.hh = torch.nn.Linear(3, 16), torch.nn.Linear(4, 16)

        def forward(self, x):
            h = c = x.new_zeros(x.shape[1], 4)
            out = []
            for x_t in x:
                i, f, g, o = (self.ih(x_t) + self.hh(h)).chunk(4, dim=1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                out.append(h)
            return torch.stack(out), (h, c)

    torch.manual_seed(0)
    names = {
        "lc": lc,
        "net": Net(),
        "loss": torch.nn.MSELoss(),
        "x": torch.randn(5, 2, 3),
        "targets": torch.zeros(5, 2, 4),
    }
    assert len(TORCH.splitlines()) == 3
    exec(TORCH, names)
    assert "forward: right\nright: " in capsys.readouterr().out


def test_three_lines_with_arrays_and_the_answer_that_is_shown(capsys):
    program = (Path(__file__).parents[1] / "strangers" / "columns.py").read_text(encoding="utf-8")
    assert len(ARRAYS.splitlines()) == 3
    for text, right in ((program, True), (program.replace("dc * c_old * f", "dc * c * f"), False)):
        theirs: dict = {}
        exec(text, theirs)
        case = theirs["case"]
        names = {"weights": case["weights"], "x": case["x"], "dy": case["dy"], "grads": case["grads"], "h": case["y"]}
        exec(ARRAYS, names)
        assert names["answer"].ok is right
    said = capsys.readouterr().out
    for line in SHOWN.splitlines():
        assert line in said, f"{line!r} is not in\n{said}"
