"""The functions through which Python calls a kernel in object code: arguments checked and taken apart, the result made an object.

They are what `machine_code` describes, written in LLVM code; Numba's own way from Python to a kernel needs Numba in the process and costs
some 150 ns more, as much as a step of a small network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from edge_lstm.engine import machine_code
from edge_lstm.engine.machine_code import LINKS

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_OBJECT = ir.IntType(8).as_pointer()
_RESULTS = {
    "PyLong_AsLongLong": (_I64, _OBJECT), "PyLong_FromLongLong": (_OBJECT, _I64), "PyBool_FromLong": (_OBJECT, _I64),
    "PyErr_Occurred": (_OBJECT,), "PyErr_BadArgument": (_I32,), "PyTuple_GetItem": (_OBJECT, _OBJECT, _I64),
    "PyObject_CallOneArg": (_OBJECT, _OBJECT, _OBJECT), "PyObject_RichCompareBool": (_I32, _OBJECT, _OBJECT, _I32),
    "PyEval_SaveThread": (_OBJECT,), "PyEval_RestoreThread": (ir.VoidType(), _OBJECT),
}  # fmt: skip
_EQUAL = 2  # Py_EQ
_READABLE, _WRITEABLE = 0x0101, 0x0501  # C-contiguous and aligned (NPY_ARRAY_*)

Value = Any  # an llvmlite.ir.Value; llvmlite has no types


class PythonCalls:
    """Appends `call`, and `bound` where the kernel takes one array and one address, to `module`.

    context: Numba's; symbol: name of the kernel there; arguments, result: its Numba types.
    """

    def __init__(self, module: ir.Module, context: Any, symbol: str, arguments: Sequence[Any], result: Any):
        self.module, self.context, self.symbol, self.arguments, self.result = module, context, symbol, arguments, result
        kind = ir.ArrayType(_I64, len(LINKS))
        self.links = ir.GlobalVariable(module, kind, "links")
        self.links.initializer = ir.Constant(kind, None)
        self._call()
        if len(arguments) == 2 and isinstance(arguments[0], types.Array) and isinstance(arguments[1], types.Integer):
            self._bound()

    # ---- the two functions ------------------------------------------------------------------------------------------------

    def _call(self) -> None:
        b, (_, given, count) = self._function("call", _OBJECT, _OBJECT.as_pointer(), _I64)
        wrong = b.append_basic_block("wrong")
        self._require(b, b.icmp_signed("==", count, ir.Constant(_I64, len(self.arguments))), wrong)
        objects = [b.load(b.gep(given, [ir.Constant(_I64, k)])) for k in range(len(self.arguments))]
        values = [self._argument(b, kind, thing, wrong) for kind, thing in zip(self.arguments, objects, strict=True)]
        found = self._run(b, values, wrong, frees=True)
        b.ret(self._python(b, "PyLong_FromLongLong", found))
        b.position_at_end(wrong)
        self._python(b, "PyErr_BadArgument")
        b.ret(ir.Constant(_OBJECT, None))

    def _bound(self) -> None:
        b, (own, given) = self._function("bound", _OBJECT, _OBJECT)
        slow = b.append_basic_block("slow")
        steps = self.arguments[0].ndim > 1
        array = self._argument(b, self.arguments[0], given, slow)
        address = self._python(b, "PyLong_AsLongLong", self._python(b, "PyTuple_GetItem", own, ir.Constant(_I64, 0)))
        # One step takes less than other threads need to notice that they may run.
        made = self._run(b, [array, address], slow, frees=steps)
        self._require(b, b.icmp_signed(">=", made, ir.Constant(_I64, 0)), slow)
        b.ret(self._python(b, "PyLong_FromLongLong" if steps else "PyBool_FromLong", made))
        b.position_at_end(slow)
        b.ret(self._python(b, "PyObject_CallOneArg", self._python(b, "PyTuple_GetItem", own, ir.Constant(_I64, 1)), given))

    def _function(self, name: str, *arguments: Any) -> tuple[ir.IRBuilder, Sequence[Value]]:
        function = ir.Function(self.module, ir.FunctionType(_OBJECT, arguments), name)
        return ir.IRBuilder(function.append_basic_block()), function.args

    # ---- arguments and results ----------------------------------------------------------------------------------------------

    def _require(self, b: ir.IRBuilder, condition: Value, otherwise: ir.Block) -> None:
        good = b.append_basic_block()
        b.cbranch(condition, good, otherwise)
        b.position_at_end(good)

    def _link(self, b: ir.IRBuilder, name: str) -> Value:
        return b.load(b.gep(self.links, [ir.Constant(_I32, 0), ir.Constant(_I32, LINKS.index(name))]))

    def _python(self, b: ir.IRBuilder, name: str, *arguments: Value) -> Value:
        result, *kinds = _RESULTS[name]
        return b.call(b.inttoptr(self._link(b, name), ir.FunctionType(result, kinds).as_pointer()), arguments)

    def _argument(self, b: ir.IRBuilder, kind: Any, thing: Value, wrong: ir.Block) -> Value:
        if isinstance(kind, types.Array):
            return self._array(b, kind, thing, wrong)
        number = self._python(b, "PyLong_AsLongLong", thing)
        with b.if_then(b.icmp_signed("==", number, ir.Constant(_I64, -1)), likely=False):
            raised = b.ptrtoint(self._python(b, "PyErr_Occurred"), _I64)
            with b.if_then(b.icmp_signed("!=", raised, ir.Constant(_I64, 0)), likely=False):
                b.ret(ir.Constant(_OBJECT, None))
        if isinstance(kind, types.Boolean):
            return b.icmp_signed("!=", number, ir.Constant(_I64, 0))
        if kind == types.int64:
            return number
        raise TypeError(f"no way from Python for {kind}")

    def _array(self, b: ir.IRBuilder, kind: Any, thing: Value, wrong: ir.Block) -> Value:
        """Numba's view of an array object that is C-contiguous, aligned, of the element type and in the byte order that `kind` names."""

        def field(offset: int, what: Any = _I64) -> Value:
            return b.load(b.bitcast(b.gep(thing, [ir.Constant(_I64, offset)]), what.as_pointer()))

        if kind.layout != "C":
            raise TypeError(f"no way from Python for {kind}")
        dtype = np_name(kind.dtype)
        needed = ir.Constant(_I32, _WRITEABLE if kind.mutable else _READABLE)
        for found, wanted in (
            (field(machine_code.TYPE), self._link(b, "ndarray")),
            (field(machine_code.DIMENSIONS, _I32), ir.Constant(_I32, kind.ndim)),
            (b.and_(field(machine_code.FLAGS, _I32), needed), needed),
        ):
            self._require(b, b.icmp_signed("==", found, wanted), wrong)
        self._same_type(b, field(machine_code.DTYPE), self._link(b, dtype), wrong)
        view = self.context.make_array(kind)(self.context, b)
        view.meminfo, view.parent = cgutils.get_null_value(view.meminfo.type), cgutils.get_null_value(view.parent.type)
        shape, strides = (self._numbers(b, field(offset), kind.ndim) for offset in (machine_code.SHAPE, machine_code.STRIDES))
        view.shape, view.strides = cgutils.pack_array(b, shape), cgutils.pack_array(b, strides)
        view.nitems = ir.Constant(_I64, 1)
        for size in shape:
            view.nitems = b.mul(view.nitems, size)
        view.itemsize = ir.Constant(_I64, 1 if dtype == "bool" else kind.dtype.bitwidth // 8)
        view.data = b.inttoptr(field(machine_code.DATA), view.data.type)
        return view._getvalue()

    def _same_type(self, b: ir.IRBuilder, found: Value, wanted: Value, wrong: ir.Block) -> None:
        """NumPy has one object for each element type, but makes equal ones on request."""
        with b.if_then(b.icmp_signed("!=", found, wanted), likely=False):
            types_of = b.inttoptr(found, _OBJECT), b.inttoptr(wanted, _OBJECT)
            equal = self._python(b, "PyObject_RichCompareBool", *types_of, ir.Constant(_I32, _EQUAL))
            self._require(b, b.icmp_signed("==", equal, ir.Constant(_I32, 1)), wrong)

    def _numbers(self, b: ir.IRBuilder, address: Value, count: int) -> list[Value]:
        start = b.inttoptr(address, _I64.as_pointer())
        return [b.load(b.gep(start, [ir.Constant(_I64, k)])) for k in range(count)]

    def _run(self, b: ir.IRBuilder, values: list[Value], wrong: ir.Block, frees: bool) -> Value:
        """The integer that the kernel gives, 0 for none. frees: other threads may run meanwhile (the global interpreter lock)."""
        convention: Any = self.context.call_conv
        kernel = cgutils.get_or_insert_function(self.module, convention.get_function_type(self.result, self.arguments), self.symbol)
        thread = self._python(b, "PyEval_SaveThread") if frees else None
        status, found = convention.call_function(b, kernel, self.result, self.arguments, values)
        if frees:
            self._python(b, "PyEval_RestoreThread", thread)
        self._require(b, b.not_(status.is_error), wrong)
        return found if isinstance(self.result, types.Integer) else ir.Constant(_I64, 0)


def np_name(kind: Any) -> str:
    """NumPy's name of an element type, as `machine_code.DTYPES` has it."""
    name = "bool" if isinstance(kind, types.Boolean) else str(kind)
    if name not in machine_code.DTYPES:
        raise TypeError(f"no way from Python for arrays of {kind}")
    return name
