"""The table of docs/features.md, entry by entry: each is found again by running what it speaks of."""

from pathlib import Path

import features
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
NEEDS = {
    "torch": ("torch",), "Keras 3": ("keras",), "ONNX": ("onnx", "onnxruntime"), "Flax": ("flax",),
    "Equinox": ("equinox",),
}  # fmt: skip
BY_DAY = ("RNN with tanh", "no biases")  # of what JAX runs; its refusals cost nothing

# what Keras deprecates in itself is not ours to mend, and torch has no faster way for projections
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
]


def table():
    """Feature -> the entries of its row."""
    rows = [line.strip("| \n").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if "|" in line]
    return {first.strip(): [entry.strip() for entry in rest] for first, *rest in rows}


def test_the_page_speaks_of_every_feature():
    said = table()
    assert said.pop("feature") == ["runs on", *(system.name for system in features.SYSTEMS)]
    assert list(said)[1:] == list(features.FEATURES)  # behind the line of dashes
    assert {feature: row[0] for feature, row in said.items() if feature in features.FEATURES} == {
        feature: features.engines(feature) for feature in features.FEATURES
    }
    assert PAGE.read_text(encoding="utf-8").startswith(features.HEAD)


@pytest.mark.parametrize("system", features.SYSTEMS, ids=lambda system: system.name)
@pytest.mark.parametrize("feature", features.FEATURES)
def test_an_entry_is_what_runs(feature, system, request, nightly):
    said = table()[feature][1 + features.SYSTEMS.index(system)]
    if system.name in ("Flax", "Equinox") and said != "no" and feature not in BY_DAY and not nightly:
        pytest.skip("with --nightly: JAX takes a second for it")
    for peer in NEEDS[system.name]:
        request.getfixturevalue(peer)
    found, why = features.entry(feature, system)
    assert found == said, why
    if found == "no":
        assert system.name.split()[0] in why or "a keras.Sequential" in why  # who has it not, and of what
