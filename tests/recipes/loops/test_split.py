"""Who is learnt from and who is tested on: shares, groups, leaks."""

import numpy as np
import pytest

from lstmcore.recipes.loops import generator, split


@pytest.mark.parametrize("kind", ["grouped", "random"])
def test_every_loop_is_in_one_part(kind):
    """Loops are told apart by their angles. No group has more than 3 % of 300 loops, so no share is off by more."""
    loops = generator.generate(300, seed=1)
    parts = split.split(loops, kind, np.random.default_rng(0))
    rows = np.concatenate([part.targets.reshape(len(part), -1) for part in parts])
    assert np.array_equal(np.unique(rows, axis=0), np.unique(loops.targets.reshape(300, -1), axis=0))
    assert len(rows) == 300
    for part, share in zip(parts, split.PARTS):
        assert abs(len(part) / 300 - share) <= 0.03


def test_groups_stay_together():
    parts = split.split(generator.generate(300, seed=1), "grouped", np.random.default_rng(0))
    names = [set(part.sequences) for part in parts]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]
    assert split.leaked(parts) == 0
    assert split.warning(parts) is None


def test_a_random_split_leaks_and_the_number_is_told():
    parts = split.split(generator.generate(300, seed=1), "random", np.random.default_rng(0))
    learnt = set(parts.learnt.sequences)
    n = sum(sequence in learnt for sequence in parts.tested.sequences)
    assert split.leaked(parts) == n > 20
    assert f"leak: {n} of {len(parts.tested)} test loops" in split.warning(parts)
    assert "--split grouped keeps them apart" in split.warning(parts)


def test_the_seed_decides():
    loops = generator.generate(100)
    first, same, other = (split.split(loops, "grouped", np.random.default_rng(s)).tested.sequences for s in (0, 0, 1))
    assert list(first) == list(same) != list(other)


def test_too_few_sequences():
    loops = generator.generate(40).take(np.zeros(40, int))
    with pytest.raises(ValueError, match="40 loops of 1 sequences are too few to learn from 70 %"):
        split.split(loops, "grouped", np.random.default_rng(0))


def test_a_split_of_ones_own(tmp_path):
    loops, path = generator.generate(30, seed=1), tmp_path / "parts.txt"
    words = ["test"] * 5 + ["train", "validation"] * 5 + ["train"] * 15
    path.write_text("\n".join(words) + "\n")
    parts = split.split(loops, str(path), np.random.default_rng(0))
    for part, word in zip(parts, split.WORDS):
        want = [sequence for sequence, told in zip(loops.sequences, words) if told == word]
        assert part.sequences.tolist() == want
    for text, message in (
        ("\n".join(words[:-1]), r"has 29 lines for 30 loops \(a line each"),
        (
            "\n".join(["train"] * 10 + ["tset"] + words[11:]),
            "line 11: should be one of train, validation, test; got 'tset'",
        ),
        ("\n".join(["train"] * 30), "names no loop for validation, test"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            split.split(loops, str(path), np.random.default_rng(0))
    with pytest.raises(ValueError, match="grouped, random, or a file with a part per line; there is no file grupped"):
        split.split(loops, "grupped", np.random.default_rng(0))
