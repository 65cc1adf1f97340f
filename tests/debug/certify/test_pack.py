"""The golden pack: what is in it, and lstmcore's own engines held to it."""

import numpy as np
import pytest

from lstmcore.debug.certify import read_pack
from lstmcore.debug.certify.own import answer, layer_of

PACK = read_pack()


@pytest.mark.parametrize("engine", ["reference", "fused-cpu"])
def test_own_engines(engine):
    for case in PACK.values():
        for dtype in ("float64", "float32"):
            got = answer(case, layer_of(case, dtype, engine), dtype)
            assert got.keys() == case.results.keys()
            for name, want in case.results.items():
                room = case.tolerance[dtype][name.split("/")[0]]
                assert np.all(np.abs(got[name] - want) <= room), (case.name, dtype, name)


def test_a_file_of_another_version_is_refused(tmp_path):
    (tmp_path / "pack.json").write_text('{"format": "lstmcore pack", "version": 2, "cases": []}')
    with pytest.raises(ValueError, match=r"should be a 'lstmcore pack' of version 1; got 'lstmcore pack', 2"):
        read_pack(tmp_path / "pack.json")
