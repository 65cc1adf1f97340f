"""A vector of floats as a value of compiled code: as many lanes as one register holds (target.py).

Numba compiles scalar Python, and whether LLVM then makes vector instructions of it is a matter of luck. Here the
vector is a type of its own: `a * b + c` over two of them is one instruction per operation, on any machine. The text
of a cell's step, written for arrays, runs over these values unchanged.
"""

import operator
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

INT32, INT64 = ir.IntType(32), ir.IntType(64)


class Vector(types.Type):
    """Numba's name for `lanes` floats of one dtype in a register."""

    def __init__(self, scalar: types.Float, lanes: int):
        self.scalar, self.lanes = scalar, lanes
        super().__init__(name=f"vector({lanes} x {scalar})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, llvm_type(vector))


def llvm_type(vector: Vector) -> ir.VectorType:
    """The vector as LLVM writes it."""
    scalar = ir.FloatType() if vector.scalar is types.float32 else ir.DoubleType()
    return ir.VectorType(scalar, vector.lanes)


def spread(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
    """One scalar in every lane."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, INT32(0))
    lanes = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def at(builder: ir.IRBuilder, address: ir.Value, type_: ir.Type) -> ir.Value:
    """An address in bytes as a pointer to `type_`."""
    return builder.inttoptr(address, type_.as_pointer())


def fuse(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c, rounded once where the machine can."""
    return _call(builder, "fmuladd", a, b, c)


def prefetch(builder: ir.IRBuilder, address: ir.Value) -> None:
    """Asks for the cache line at `address`, into the second level; reads nothing, so any address will do."""
    pointer = ir.IntType(8).as_pointer()
    type_ = ir.FunctionType(ir.VoidType(), [pointer, INT32, INT32, INT32])
    function = cgutils.get_or_insert_function(builder.module, type_, "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, pointer), INT32(0), INT32(2), INT32(1)])  # to read, level 2, data


@intrinsic
def ask_for(typing, address):
    """`prefetch`, for kernels."""

    def generate(context, builder, signature, operands):
        prefetch(builder, operands[0])
        return context.get_dummy_value()

    return types.void(types.intp), generate


def _call(builder: ir.IRBuilder, name: str, *operands: ir.Value) -> ir.Value:
    """One of LLVM's lane by lane functions, such as fabs."""
    vector = operands[0].type
    suffix = f"v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
    type_ = ir.FunctionType(vector, [vector] * len(operands))
    return builder.call(cgutils.get_or_insert_function(builder.module, type_, f"llvm.{name}.{suffix}"), operands)


# Arithmetic: vector with vector, or vector with a number of the same dtype, which is spread over all lanes.


def _arithmetic(symbol: Callable, instruction: str) -> None:
    @infer_global(symbol)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            found = [a for a in args if isinstance(a, Vector)]
            if found and all(a in (found[0], found[0].scalar) for a in args):
                return found[0](*args)
            return None

    @lower_builtin(symbol, Vector, Vector)
    @lower_builtin(symbol, Vector, types.Float)
    @lower_builtin(symbol, types.Float, Vector)
    def generate(context, builder, signature, operands):
        wide = [
            operand if isinstance(type_, Vector) else spread(builder, operand, llvm_type(signature.return_type))
            for operand, type_ in zip(operands, signature.args)
        ]
        return getattr(builder, instruction)(*wide, flags=("contract",))


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)


@infer_global(operator.neg)
class _Negation(AbstractTemplate):
    def generic(self, args, kws):
        return args[0](*args) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _negate(context, builder, signature, operands):
    return builder.fneg(operands[0])


@intrinsic
def multiply_add(typing, a, b, c):
    """a * b + c of three vectors, rounded once where the machine can."""
    return a(a, a, a), lambda context, builder, signature, operands: fuse(builder, *operands)


@intrinsic
def absolute(typing, a):
    """|a|; NaN stays NaN."""
    return a(a), lambda context, builder, signature, operands: _call(builder, "fabs", *operands)


@intrinsic
def with_sign(typing, a, sign):
    """|a| with the sign of `sign`."""
    return a(a, a), lambda context, builder, signature, operands: _call(builder, "copysign", *operands)


@intrinsic
def where_less(typing, a, b, yes, no):
    """Lane by lane: `yes` where a < b, else `no`; a NaN is not less than anything. A number stands in all lanes."""
    vector = next(part for part in (a, b, yes, no) if isinstance(part, Vector))

    def generate(context, builder, signature, operands):
        wide = [
            operand if isinstance(part, Vector) else spread(builder, operand, llvm_type(vector))
            for operand, part in zip(operands, signature.args)
        ]
        return builder.select(builder.fcmp_ordered("<", *wide[:2]), *wide[2:])

    return vector(a, b, yes, no), generate


def rounder(dtype: str) -> float:
    """1.5 * 2^(bits of the mantissa): a number added to it is rounded to a whole one, which stands in its lowest
    bits.
    """
    return 1.5 * 2.0 ** np.finfo(dtype).nmant


@intrinsic(prefer_literal=True)
def power_of_two(typing, rounded, shift):
    """2^(n + shift), where `rounded` is n + rounder, and 2^(n + shift) a normal number; else anything at all."""
    if not isinstance(shift, types.IntegerLiteral):
        return None
    bits, mantissa, bias = (32, 23, 127) if rounded.scalar is types.float32 else (64, 52, 1023)

    def generate(context, builder, signature, operands):
        integers = ir.VectorType(ir.IntType(bits), rounded.lanes)

        def everywhere(value):
            return ir.Constant(integers, [value] * rounded.lanes)

        # Shifted into the exponent's place, only n is left.
        exponent = builder.shl(builder.bitcast(operands[0], integers), everywhere(mantissa))
        exponent = builder.add(exponent, everywhere((bias + shift.literal_value) << mantissa))
        return builder.bitcast(exponent, llvm_type(rounded))

    return rounded(rounded, shift), generate
