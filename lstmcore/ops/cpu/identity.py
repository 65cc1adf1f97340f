"""What a compiled function is made of, as one hash: its code, and the values of all that its code names.

Numba compiles a function's bytecode, and takes what stands in its closure and in its globals for constants. So these
are what the hash looks at, through helpers and intrinsics down to plain numbers, wherever the function was written: a
file, a notebook, `python -c`. Comments, docstrings and whatever else the machine code does not hold leave it as it is.

Python's own library, NumPy, Numba and llvmlite are known by name: their versions belong to every key (kernel.py).
"""

import ast
import builtins
import dis
import enum
import functools
import hashlib
import inspect
import secrets
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic, register_jitable
from numba.core.typing.templates import Signature, builtin_registry

NAMED = ("numpy", "numba", "llvmlite")  # and Python's own library
STANDARD = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


class UnknownContent(TypeError):
    """A value in which anything may stand, so that machine code made from it cannot be known again."""


def identity(*values: object) -> str:
    """The hash, 64 hex digits, of functions and other values: the same in every process, another for other content.

    Raises UnknownContent for a value that is neither a function, a constant nor a type, and is made of none.
    """
    walk = _Walk()
    for value in values:
        walk.add(value)
    return walk.digest.hexdigest()


settled: "weakref.WeakKeyDictionary[Callable, str]" = weakref.WeakKeyDictionary()  # what jitable.py has asked for:
# Numba will not look again at what those functions name, so their hash stands for them


def named(function: Callable, content: str, name: str | None = None) -> None:
    """Gives the function a name of which there is no other, for Numba to call its machine code by (see jitable.py)."""
    function.__qualname__ = f"{name or function.__qualname__}_{content[:32] or secrets.token_hex(16)}"


class Code(NamedTuple):
    """What a code object says, and which values it says it with."""

    text: str
    constants: tuple[object, ...]  # nested code objects among them
    chains: tuple[tuple[str, str, tuple[str, ...]], ...]  # "global" or "free", the name, the attributes taken of it


@functools.lru_cache(maxsize=4096)
def read(code: CodeType) -> Code:
    """The code, instruction by instruction: constants and names as such, so that numbers of places do not matter."""
    many = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    text: list[object] = [code.co_argcount, code.co_kwonlyargcount, many, code.co_exceptiontable.hex()]
    text += code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    variables = (*code.co_varnames, *[c for c in code.co_cellvars if c not in code.co_varnames], *code.co_freevars)
    constants: list[object] = []
    chains: list[tuple[str, str, tuple[str, ...]]] = []
    attached = False  # whether an attribute now would be of the last name
    for operation, argument in _operations(code.co_code):
        said: object = argument
        if operation in CONSTANT:
            constants.append(code.co_consts[argument])
            said = "constant"
        elif operation in NAME:
            said = code.co_names[argument >> SHIFT.get(operation, 0)]
        text += (operation, said)
        if operation in KIND:
            name = said if operation in NAME else variables[argument]
            chains.append((KIND[operation], str(name), ()))
        elif attached and operation in ATTRIBUTE:
            kind, name, attributes = chains[-1]
            chains[-1] = kind, name, (*attributes, str(said))
        attached = operation in KIND or (attached and (operation in ATTRIBUTE or operation == PUSH_NULL))
    return Code("\n".join(map(str, text)), tuple(constants), tuple(chains))


def _operations(content: bytes) -> Iterator[tuple[int, int]]:
    """(operation, argument) of each instruction."""
    argument = 0
    for operation, byte in zip(content[::2], content[1::2]):
        argument = argument << 8 | byte
        if operation != dis.EXTENDED_ARG:
            if operation != CACHE:
                yield operation, argument
            argument = 0


CONSTANT, NAME, OPERATION = frozenset(dis.hasconst), frozenset(dis.hasname), dis.opmap
CACHE, PUSH_NULL = OPERATION.get("CACHE", 0), OPERATION["PUSH_NULL"]
KIND = {OPERATION[name]: kind for name, kind in (
    ("LOAD_GLOBAL", "global"), ("LOAD_NAME", "global"), ("LOAD_DEREF", "free"), ("IMPORT_NAME", "module"),
)}  # fmt: skip
ATTRIBUTE = frozenset(OPERATION[name] for name in ("LOAD_ATTR", "LOAD_METHOD") if name in OPERATION)
SHIFT = {OPERATION["LOAD_GLOBAL"]: 1, OPERATION["LOAD_ATTR"]: 0 if sys.version_info < (3, 12) else 1}  # flags below
if "LOAD_SUPER_ATTR" in OPERATION:
    SHIFT[OPERATION["LOAD_SUPER_ATTR"]] = 2


def named_values(function: FunctionType) -> Iterator[tuple[str, str, tuple[str, ...], object]]:
    """What the function's code names: "global" or "free", the name, what is taken of it, and the value; a name without
    a value is left out.

    Of a module that is not known by name, the value is what the code takes of it. Of all else it is the thing itself.
    """
    free = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
    codes = [function.__code__]
    for code in codes:
        constants, chains = read(code)[1:]
        codes += [constant for constant in constants if isinstance(constant, CodeType)]
        for kind, name, attributes in chains:
            try:
                if kind == "free":
                    value = free[name].cell_contents
                elif kind == "global":
                    value = function.__globals__[name] if name in function.__globals__ else vars(builtins)[name]
                else:
                    value = sys.modules[name]
                taken = 0
                while taken < len(attributes) and isinstance(value, ModuleType) and not by_name(value.__name__):
                    value = getattr(value, attributes[taken])
                    taken += 1
            except (KeyError, ValueError, AttributeError):  # not defined so far, or a local of an outer function
                continue
            yield kind, name, attributes[:taken], value


class _Walk:
    """Writes values into a digest, each object once: the second time its number stands for it, so circles end."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.numbers: dict[int, int] = {}
        self.kept: list[object] = []  # so that no number is handed out twice

    def put(self, *words: object) -> None:
        for word in words:
            content = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
            self.digest.update(b"%d:" % len(content) + content)

    def add(self, value: object) -> None:
        kind = type(value)
        if value is None or value is ... or kind in (bool, int, float, complex, str, bytes, range, slice):
            return self.put(kind.__name__, repr(value))
        if isinstance(value, tuple | list):
            self.put(kind.__qualname__, getattr(value, "_fields", ""), len(value))
            return self._each(value)
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            return self.put(kind.__name__, value.dtype.descr, value.shape, value.tobytes())
        if isinstance(value, np.dtype) and not value.hasobject:
            return self.put("dtype", value.descr, value.itemsize)
        if isinstance(value, enum.Enum):
            self.put("enum", type(value).__qualname__, value.name)
            return self.add(value.value)
        if isinstance(value, ir.Type | ir.Constant):
            return self.put(kind.__name__, str(value))
        if isinstance(value, ModuleType) and by_name(value.__name__):
            return self.put("module", value.__name__)
        if _is_named(value):
            return self.put("named", value.__module__, value.__qualname__)  # type: ignore[attr-defined]
        if id(value) in self.numbers:
            return self.put("again", self.numbers[id(value)])
        self.numbers[id(value)] = len(self.numbers)
        self.kept.append(value)
        return self._composed(value)

    def _composed(self, value: object) -> None:
        if isinstance(value, FunctionType):
            return self.put("settled", settled[value]) if value in settled else self._function(value)
        if isinstance(value, Dispatcher):
            self.put("dispatcher")
            return self._each((value.py_func, sorted(value.targetoptions.items())))
        if isinstance(value, _Intrinsic):
            self.put("intrinsic", value._prefer_literal)
            return self._each((value._defn, sorted(value._ctor_kwargs.items())))
        if isinstance(value, Signature):
            self.put("signature")
            return self._each((value.return_type, value.args))
        if isinstance(value, functools.partial):
            self.put("partial")
            return self._each((value.func, value.args, value.keywords))
        if isinstance(value, functools._lru_cache_wrapper):
            return self.add(value.__wrapped__)
        if isinstance(value, MethodType):
            self.put("method")
            return self._each((value.__func__, value.__self__))
        if isinstance(value, dict):
            self.put("dict", len(value))
            return self._each(item for pair in value.items() for item in pair)
        if isinstance(value, set | frozenset):
            return self.put("set", *sorted(identity(item) for item in value))
        if isinstance(value, types.Type) and " at 0x" not in str(value):
            self.put("type", type(value).__qualname__, str(value))
            if not by_name(type(value).__module__):
                self.add(type(value))
            return self._each(part for part in vars(value).values() if isinstance(part, types.Type))
        if isinstance(value, type):
            return self._class(value)
        raise UnknownContent(f"{_short(value)}, whose content cannot be told")

    def _each(self, values: Iterable) -> None:
        for value in values:
            self.add(value)

    def _function(self, function: FunctionType) -> None:
        self.put("function")
        self._each((function.__defaults__, function.__kwdefaults__))
        self._code(function.__code__)
        for kind, name, taken, value in named_values(function):
            self.put(kind, name, *taken)
            self.add(value)
        for template in _templates(function):
            self._each((getattr(template, "_overload_func", None), getattr(template, "_jit_options", None)))

    def _code(self, code: CodeType) -> None:
        text, constants, _ = read(code)
        self.put("code", text)
        for constant in constants:
            self._code(constant) if isinstance(constant, CodeType) else self.add(constant)

    def _class(self, cls: type) -> None:
        """An Enum is its members, a tuple with named fields its fields. Another class stands for its whole file, for
        there Numba was told what its operators do."""
        self.put("class", cls.__qualname__)
        if issubclass(cls, enum.Enum):
            return self._each((name, member.value) for name, member in cls.__members__.items())
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return self._each((cls._fields, getattr(cls, "_field_defaults", {})))
        try:
            text = inspect.getsource(sys.modules[cls.__module__])
        except (KeyError, OSError, TypeError):
            raise UnknownContent(f"{_short(cls)}, whose file cannot be read") from None
        return self.put(_without_docstrings(text))


def _templates(function: FunctionType) -> list[type]:
    """How Numba compiles calls of the function, if it has been told."""
    found = [known for value, known in builtin_registry.globals if value is function]
    return [template for known in found for template in getattr(known, "templates", ())]


def replaced(function: FunctionType) -> bool:
    """Whether another function stands for this one in compiled code (`numba.extending.overload`)."""
    overloads = [getattr(template, "_overload_func", None) for template in _templates(function)]
    return any(getattr(found, "__module__", None) != register_jitable.__module__ for found in overloads)


@functools.lru_cache(maxsize=64)
def _without_docstrings(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def by_name(module: str) -> bool:
    """Whether the module belongs to what is known by name."""
    top = module.partition(".")[0]
    if top in NAMED:
        return True
    if top not in sys.stdlib_module_names and top != "builtins":
        return False
    file = getattr(sys.modules.get(top), "__file__", None)  # a script may have taken a name of the library
    return file is None or (file.startswith(STANDARD) and "site-packages" not in file)


def _is_named(value: object) -> bool:
    """Whether the value is found by its own name in such a module."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(value, BuiltinFunctionType) and module is None:
        module = getattr(value.__self__, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not by_name(module):
        return False
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _short(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
