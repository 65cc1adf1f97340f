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


def test_float32_and_float64_are_told_from_the_rest():
    names = ["float16", "float32", "float64", "complex64", "complex128", "int32", "int64", "bool"]
    assert [name for name in names if arrays.is_float32_or_64(np.dtype(name))] == ["float32", "float64"]
    other_bytes = [np.dtype(name).newbyteorder("S") for name in ("float32", "float64")]
    assert not any(map(arrays.is_float32_or_64, other_bytes))


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


def test_memory_of_torch_is_shared_both_ways(torch):
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    x = arrays.from_dlpack(tensor)
    assert isinstance(x, np.ndarray)
    assert x.dtype == "float32"
    tensor[0, 1] = 7
    assert x.tolist() == [[0, 7, 2], [3, 4, 5]]
    assert torch.from_dlpack(np.ones(2)).tolist() == [1, 1]
    with pytest.raises(BufferError, match="detach"):
        arrays.from_dlpack(tensor.requires_grad_())


class Elsewhere:
    def __init__(self, device):
        self.device = device

    def __dlpack_device__(self):
        return self.device, 0


def test_memory_that_cannot_be_shared(monkeypatch):
    with pytest.raises(TypeError, match=r"`value` should be an array with DLPack \(torch, JAX, ...\); got list"):
        arrays.from_dlpack([1.0])
    with pytest.raises(TypeError, match="should lie on the host or on a CUDA GPU; got DLPack's device type 8"):
        arrays.from_dlpack(Elsewhere(8))
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(ImportError, match="arrays on a GPU need CuPy"):
        arrays.from_dlpack(Elsewhere(2))
