"""`lstmcore certify`: verdicts on engines with known faults, real peers whose faults are known, and what is written."""

import json
import re
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from lstmcore.cli import app
from lstmcore.debug.certify import certify, read_pack, report
from lstmcore.debug.certify.certify import CannotBegin, Score
from lstmcore.debug.certify.engines import keras_layers
from lstmcore.debug.certify.named import named
from lstmcore.debug.certify.own import answer, layer_of
from lstmcore.debug.certify.verdict import Verdict, judge
from lstmcore.debug.certify.worker import NO, REFUSES

PACK = read_pack()
MINE = '''
import os, time
from lstmcore.debug.certify import Refused
from lstmcore.debug.certify.own import answer, layer_of

def right(case):
    return answer(case, layer_of(case, engine="reference"))

def blind(case):
    """Knows no mask."""
    from dataclasses import replace
    arrays = {k: v for k, v in case.arrays.items() if k != "mask"}
    return answer(replace(case, arrays=arrays), layer_of(case, engine="reference"))

def hasty(case):
    """Forgets dstate in one weight."""
    found = right(case)
    found["dweights/0.fw.W_hh"] = found["dweights/0.fw.W_hh"].copy()
    found["dweights/0.fw.W_hh"][1, case.H] *= 1 + 1e-9
    return found

def plain(case):
    if case.features:
        raise Refused("nothing but the plain layer")
    return right(case)

def falls(case):
    if case.name == "lstm-dstate":
        os._exit(7)
    if case.name == "lstm-reverse":
        raise ZeroDivisionError("by nothing")
    if case.name == "lstm-bidirectional":
        time.sleep(60)
    return right(case)
'''


ODD = r"""
import os, subprocess, sys
import numpy as np
from lstmcore.debug.certify.own import answer, layer_of

def odd(case):
    good = {name: np.array(a) for name, a in answer(case, layer_of(case, engine="reference")).items()}
    match case.name:
        case "lstm-no_bias": return None
        case "lstm-two": return good | {"dweights/0.fw.W_hx": 0}
        case "lstm-three": return good | {"y": np.zeros(good["y"].shape, int)}
        case "lstm-reverse": sys.exit("no more")
        case "lstm-bidirectional": raise NotImplementedError
        case "lstm-gaps": return "1" + 1
        case "lstm-empty": return good | {"y": good["y"].swapaxes(0, 1)}
        case "lstm-short": return good | {"dx": good["dx"] * np.nan}
        case "lstm-lengths": raise ValueError("\x1b[1mred\x1b[0m \x00\ud800 words\nof two lines")
        case "lstm-state0":
            os.write(1, b'{"case": 1}')
            print(sys.stdin.readline())
            return {n: a.tolist() for n, a in good.items()}
        case "lstm-dstate":
            case.arrays.clear()
            case.options["peepholes"] = True
            return {n: a.astype(np.longdouble) for n, a in good.items()}
        case "lstm-saturated": return {"y": good["y"].astype("float16")}
    return good

def hangs(case):
    child = subprocess.Popen(["sleep", "600"])
    open("children", "a").write(f"{child.pid}\n")
    child.wait()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "strange.py").write_text(ODD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_verdicts_in_a_process_of_its_own(mine):
    """What knows no mask is told that it ignores lengths; a number that is a billionth off is found, with its gate."""
    names = ("lstm-lengths", "lstm-dstate")
    blind = {v.case: v for v in certify("mine:blind", only=names).verdicts}
    assert (blind["lstm-lengths"].verdict, blind["lstm-dstate"].verdict) == ("ignored", "agree")
    assert "lengths" in blind["lstm-lengths"].words
    (hasty,) = [v for v in certify("mine:hasty", only=["lstm-dstate"]).verdicts if v.case == "lstm-dstate"]
    assert hasty.verdict == "wrong"
    assert hasty.wrong == ("dweights/0.fw.W_hh",)
    assert f"[1, {PACK['lstm-dstate'].H}], gate f" in hasty.words


def test_halves_have_tolerances_of_their_own(torch):
    """torch computes in them and is right; a number that is off by more than they explain is wrong; others say no."""
    for half in ("float16", "bfloat16"):
        score = certify("torch", half, only=["lstm-state0-dstate", "gru-lengths-dstate"])
        assert score.bad == []
        assert score.count("agree") > 3
    score = certify("lstmcore:fused-cpu-bf16", only=["lstm-state0-dstate", "gru-lengths-dstate"])
    assert (score.dtype, score.bad) == ("bfloat16", [])
    assert score.count("agree") + score.count("ambiguous") == 10  # two have no tolerance for bfloat16
    with pytest.raises(CannotBegin, match="rounds factors to bfloat16, and is judged by that; got the dtype float32"):
        certify("lstmcore:fused-cpu-bf16", "float32")
    case = PACK["lstm-dstate"]
    found = answer(case, layer_of(case, engine="reference"))
    for half in ("float16", "bfloat16"):
        allowed = case.tolerance[half]["y"]
        for factor, verdict in ((0.5, "agree"), (2.0, "wrong")):
            y = found["y"].copy()
            y[1, 0, 2] += factor * allowed
            assert judge(case, found | {"y": y.astype("float32")}, PACK, half).verdict == verdict
    answered = CliRunner().invoke(app, ["certify", "lstmcore", "--dtype", "float16"])
    assert answered.exit_code == 2
    assert "lstmcore is not asked for float16 here; torch, flax" in answered.output.replace("\n", " ")
    answered = CliRunner().invoke(app, ["certify", "mine:right", "--dtype", "float32"])
    assert "mine:right is judged by that of its results" in answered.output.replace("\n", " ")
    wrong = CliRunner().invoke(app, ["certify", "torch", "--dtype", "int8"])
    assert "`--dtype` should be float64, float32, float16 or bfloat16; got 'int8'" in wrong.output.replace("\n", " ")


def test_a_promise_that_is_not_kept_is_wrong():
    case = PACK["lstm-lengths"]
    found = answer(case, layer_of(case, engine="reference"))
    kept, broken = (judge(case, found | more, PACK) for more in ({}, {"broken": "y is promised to be zero"}))
    assert (kept.verdict, broken.verdict, broken.words) == ("agree", "wrong", "y is promised to be zero")


def test_what_is_said_of_a_case_has_an_end():
    """However long the names are that an engine gives; what is wrong and what is known stands in it all the same."""
    case, long = PACK["lstm-lengths"], "x" * 2**20
    found = answer(case, layer_of(case, engine="reference"))
    kind = np.dtype([(long, "f4")])
    for odd, words in (
        (found | {long: 0}, "; known are dstate0/0.fw.c"), (type(long, (), {})(), "; names are dstate0/0.fw.c"),
        (found | {"y": np.zeros(3, kind)}, "y should be of floating point; got [('xxxxx"),
        (found | {"broken": long}, "xxxxx"), (found | {"broken": f"two\nlines {long}"}, "two lines xxx"),
    ):  # fmt: skip
        said = judge(case, odd, PACK).words
        assert words in said
        assert len(said) <= 1000


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    pytest.importorskip("matplotlib")
    score = Score("mine:right", "1", "float64", [Verdict("lstm", "agree")], 1.0)
    with pytest.raises(FileNotFoundError, match=r"could not be saved \(there is no such folder\)"):
        report.draw(tmp_path / "nowhere" / "a.png", score)
    for name, head in (("a.svg", b"<?xml"), ("a", b"\x89PNG")):
        report.draw(tmp_path / name, score)
        assert (tmp_path / name).read_bytes().startswith(head)


def test_the_words_of_refusal_stand_on_the_page():
    """All of them, in the row of the table; and an error that says one is shown with it, however long it is."""
    page = (Path(__file__).parents[3] / "docs" / "certify.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| refused \|.*$", page, re.MULTILINE)
    assert re.findall(r'"([\w ]+)"', row) == list(NO)
    assert {"`Refused`", "`NotImplementedError`"} <= set(re.findall(r"`\w+`", row))
    for word in NO:
        no = REFUSES.search("and more " * 1000 + f"this is {word.title()} here")
        assert word in no[0].lower()[:100]


def test_a_known_mistake_is_called_by_its_name():
    case = PACK["lstm-dstate"]
    found = answer(case, layer_of(case, engine="reference"))
    assert named(case, found | {"dweights/0.fw.b": 2 * found["dweights/0.fw.b"]}) == "db is counted twice"
    assert named(case, found) == ""


def test_a_result_that_is_all_zeros_agrees_with_zeros(mine):
    """Its tolerance is 0, and 0 / 0 is no error."""
    assert certify("mine:right", only=["thresholded_relu"]).bad == []


def test_a_crash_costs_one_case(mine):
    names = ["lstm-dstate", "lstm-reverse", "lstm-bidirectional"]
    score = certify("mine:falls", only=[*names, "lstm-long"], seconds=10)
    said = {v.case: v for v in score.verdicts}
    assert {case for case, v in said.items() if v.verdict == "crash"} == set(names)
    assert "ended with code 7" in said["lstm-dstate"].words
    assert said["lstm-reverse"].words == "ZeroDivisionError: by nothing"
    assert said["lstm-bidirectional"].words == "no answer within 10 s"
    assert {v.verdict for case, v in said.items() if case not in names} <= {"agree", "ambiguous"}


def test_what_adapters_do(mine):
    """Nothing that one returns, raises, prints, reads or changes goes by without a word, or ends more than its case."""
    said = {v.case: v for v in certify("strange:odd", only=["lstm"]).verdicts}
    assert said["lstm"].verdict == said["lstm-state0"].verdict == said["lstm-dstate"].verdict == "agree"
    assert said["lstm-saturated"].verdict in ("agree", "ambiguous")
    for case, verdict, words in (
        ("lstm-no_bias", "crash", "it should return a mapping, name -> array; got NoneType; names are dstate0/0.fw.c"),
        ("lstm-two", "crash", "no result is called 'dweights/0.fw.W_hx'; known are "),
        ("lstm-three", "crash", "y should be of floating point; got int64"),
        ("lstm-reverse", "crash", "SystemExit: no more"), ("lstm-bidirectional", "refused", "NotImplementedError"),
        ("lstm-gaps", "crash", "TypeError: "), ("lstm-lengths", "crash", "ValueError: red ?? words of two lines"),
        ("lstm-empty", "wrong", "y should have the shape (4, 3, 3); got (3, 4, 3)"),
        ("lstm-short", "wrong", "dx[0, 0, 0], step 0, row 0: nan should be "),
    ):  # fmt: skip
        assert said[case].verdict == verdict
        assert said[case].words.startswith(words)


def test_what_hangs_is_given_up_with_all_that_it_began(mine):
    score = certify("strange:hangs", only=["lstm-lengths"], seconds=1)
    assert [v.words for v in score.verdicts[:4]] == [
        *["no answer within 1 s"] * 3,
        "not tried: its process gave no answer 3 times",
    ]
    assert score.count("crash") == len(score.verdicts) > 4
    for child in (mine / "children").read_text().split():
        for _ in range(100):
            if not running(int(child)):
                break
            time.sleep(0.05)
        assert not running(int(child))


def running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "one of lstmcore, lstmcore:"), ("no_such_module:f", "No module named 'no_such_module'"),
        ("mine.py:right", "named as `import` names it, mine:lstm for mine.py; got 'mine.py:right'"),
        ("mine:nothing", "mine has no function 'nothing'"), ("program:./not-there", "cannot be run; wanted is"),
        ("torch:what", "torch takes no more words"), ("lstmcore:quick", "an engine of lstmcore is one of reference"),
        ("keras", "a backend should stand behind it"), ("flax:linen", "after flax may stand nnx; got linen"),
        ("onnx-reference:first", "after onnx-reference may stand layout1, the batch first; got first"),
    ],
)  # fmt: skip
def test_an_engine_that_is_not_there(mine, name, words):
    with pytest.raises(CannotBegin, match=re.escape(words)):
        certify(name)


def test_an_engine_that_is_not_there_is_one_line_in_a_shell(mine):
    answered = CliRunner().invoke(app, ["certify", "mine:nothing"])
    assert answered.exit_code == 2
    assert "mine has no function 'nothing'" in answered.output.replace("\n", " ")
    assert "Traceback" not in answered.output


def test_from_a_shell(mine):
    """Exit codes, the file of known failures and its strictness, JUnit, JSON, the badge and the picture."""
    (mine / "known.json").write_text('{"lstm-lengths": "ignored"}')
    only = ["--only", "lstm-lengths-dstate", "--only", "lstm-state0-bidirectional"]
    words = ["certify", "mine:blind", *only, "--junit", "found.xml", "--picture", "found.png", "--json"]
    bad = CliRunner().invoke(app, words)
    assert bad.exit_code == 1
    told = json.loads(bad.stdout.splitlines()[-1])
    assert told["counts"]["ignored"] == sum(case["verdict"] == "ignored" for case in told["cases"]) > 0
    failures = ElementTree.parse(mine / "found.xml").findall(".//failure")
    assert len(failures) == told["counts"]["ignored"] + told["counts"]["wrong"]
    assert (mine / "found.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    known = {case["case"]: case["verdict"] for case in told["cases"] if case["verdict"] in ("ignored", "wrong")}
    (mine / "known.json").write_text(json.dumps(known))
    assert CliRunner().invoke(app, ["certify", "mine:blind", *only, "--expected", "known.json"]).exit_code == 0
    repaired = CliRunner().invoke(app, [
        "certify", "mine:right", *only, "--expected", "known.json", "--junit", "found.xml",
    ])  # fmt: skip
    assert repaired.exit_code == 1
    assert len(ElementTree.parse(mine / "found.xml").findall(".//failure")) == len(known)
    assert "take it out of the file" in repaired.output
    badge = CliRunner().invoke(app, ["certify", "mine:plain", *only, "--badge"])
    assert badge.exit_code == 1
    assert re.fullmatch(r"mine:plain: 0 of 0 agree, \d+ refused\n", badge.stdout)
    assert re.search(r"nothing was judged: all \d+ cases were refused", badge.stderr.replace("\n", " "))
    assert CliRunner().invoke(app, ["certify", "mine:plain", "--junit", "no/folder.xml"]).exit_code == 2
    (mine / "known.json").write_text('{"lstm-lengthy": "wrong"}')
    unknown = CliRunner().invoke(app, ["certify", "mine:right", "--expected", "known.json"])
    assert "the pack has no case 'lstm-lengthy'" in unknown.output.replace("\n", " ")
    (mine / "known.json").write_text("[]")
    assert CliRunner().invoke(app, ["certify", "mine:right", "--expected", "known.json"]).exit_code == 2


def bad_cases(name, *only, dtype=""):
    return {v.case: v.verdict for v in certify(name, dtype, only=only).bad}


def test_torch_and_equinox_are_right(torch, request):
    """No false alarm, gradients and all."""
    assert bad_cases("torch", "gru-lengths", "lstm-short", "lstm-two", "rnn-state0") == {}
    request.getfixturevalue("jax")
    if find_spec("equinox") is None:
        (pytest.fail if request.config.getoption("--require-peers") else pytest.skip)("Equinox is not installed")
    assert bad_cases("equinox", "gru-state0", "lstm-dstate") == {}


def test_known_faults_are_found(request):
    """As of onnx 1.23, onnxruntime 1.32, Flax 0.12.8 and Keras 3.15: docs/scoreboard.md tells what they do."""
    for peer in ("onnx", "onnxruntime", "flax", "keras"):
        if find_spec(peer) is None:
            said = f"the peer {peer} is not installed"
            (pytest.fail if request.config.getoption("--require-peers") else pytest.skip)(said)
    assert bad_cases("onnx-reference", "lstm-lengths-nan-state0", "lstm-coupled_f-relu", "gru-lengths-clip_a")
    found = bad_cases("onnxruntime", "rnn-affine", "rnn-scaled_tanh", "rnn-thresholded_relu", "rnn-elu")
    assert found == dict.fromkeys(("rnn-affine", "rnn-scaled_tanh", "rnn-thresholded_relu"), "wrong")
    assert bad_cases("flax", "rnn-empty-dstate", "gru-lengths-nan-two") == dict.fromkeys(
        ("rnn-empty-dstate", "gru-lengths-nan-two"), "wrong"
    )
    assert bad_cases("onnx-reference:layout1", "lstm-state0-dstate", "gru-two") == {}
    unrolled = bad_cases("keras:numpy:unroll", "rnn-lengths-dstate", "rnn-two")
    assert "rnn-lengths-dstate" in unrolled
    assert "rnn-two" not in unrolled
    assert bad_cases("keras:numpy", "rnn-lengths-dstate", "rnn-two") == {}


def test_a_layer_of_keras_is_built_once_for_each_place(jax):
    built = []

    class Layer:
        non_trainable_variables = ()

        def __init__(self, H, **told):
            pass

        def build(self, shape):
            built.append(shape)

    stand_in = ModuleType("keras")
    stand_in.layers = SimpleNamespace(LSTM=Layer)
    made = ("lstm", 4, False, (2, 5, 3), (("unroll", True),))
    first, second = (keras_layers._layer(stand_in, *made, place) for place in (0, 1))
    assert keras_layers._by_itself(stand_in, *made) is keras_layers._by_itself(stand_in, *made)
    assert first is not second
    assert built == [(2, 5, 3)] * 2


def test_known_faults_of_other_ways(keras, flax, nightly):
    """nnx as linen; Keras on JAX's way for accelerators. JAX compiles for half a minute."""
    if not nightly:
        pytest.skip("with --nightly: JAX compiles it for half a minute")
    assert bad_cases("flax:nnx", "rnn-empty-dstate") == {"rnn-empty-dstate": "wrong"}
    assert bad_cases("keras:jax:kernel", "lstm-dstate-reverse", "lstm-state0-dstate") == {
        "lstm-dstate-reverse": "wrong"
    }
