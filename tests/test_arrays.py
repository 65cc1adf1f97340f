"""Which array library an array belongs to."""

import numpy as np
import pytest

from lstmcore import arrays


def test_numpy():
    x = np.ones(2)
    assert arrays.namespace(x) is np
    assert arrays.library_name(x) == "numpy"
    assert arrays.is_array(x)
    assert arrays.to_numpy(x) is x
    assert arrays.to_library(x, "numpy") is x
    assert not arrays.is_array([1.0])
    assert not arrays.is_array(1.0)


def test_a_second_library(array_api_strict):
    x = array_api_strict.asarray([1.0, 2.0])
    assert arrays.namespace(x).__name__ == "array_api_strict"
    assert arrays.library_name(x) == "array_api_strict"
    assert arrays.is_array(x)
    assert arrays.to_numpy(x).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64", "bool"])
def test_dtypes(array_api_strict, dtype):
    for library in (np, array_api_strict):
        x = library.asarray(library.zeros(2), dtype=getattr(library, dtype))
        assert arrays.dtype_name(x.dtype) == dtype
        assert arrays.is_complex(x) == (dtype == "complex128")


def test_real_part():
    x = np.array([1 + 2j])
    assert arrays.real(x).tolist() == [1.0]
    y = np.ones(2)
    assert arrays.real(y) is y


def test_cupy_that_is_not_there(monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(ImportError, match=r'arrays on a GPU need CuPy: pip install "lstmcore\[gpu\]"'):
        arrays.to_library(np.ones(1), "cupy")
