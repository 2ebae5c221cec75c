"""Compiled kernels as plain object code: loaded into a process and called from Python without Numba, whose import alone takes 0.3 s.

An object file holds up to two functions that Python can call, and one table that is filled when it is loaded:

    call     METH_FASTCALL: the arguments of the kernel's signature; gives its integer, 0 for none; TypeError for arguments of another type
    bound    METH_O, for entry points of one array and one address: bound to (address, slow, ...), see `Loaded.bind`
    links    addresses of the Python functions, the array type and the element types that both use, in the order of `LINKS`

So the file has no undefined symbols, and all that it relies on is the layout of an array object, which is compared with NumPy's own
answers before the first file is loaded. Only builds of CPython on Linux take this way, since nothing else has been tried; all others let
Numba call its kernels (`kernel_cache`).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import sysconfig
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

FUNCTIONS = (
    "PyLong_AsLongLong", "PyLong_FromLongLong", "PyBool_FromLong", "PyErr_Occurred", "PyErr_BadArgument", "PyTuple_GetItem",
    "PyObject_CallOneArg", "PyObject_RichCompareBool", "PyEval_SaveThread", "PyEval_RestoreThread",
)  # fmt: skip
DTYPES = ("int8", "int16", "int32", "int64", "bool")
LINKS = (*FUNCTIONS, "ndarray", *DTYPES)
# Offsets in an array object of a CPython whose objects begin with a count and a type of 8 bytes each (numpy/ndarraytypes.h).
TYPE, DATA, DIMENSIONS, SHAPE, STRIDES, DTYPE, FLAGS = 8, 16, 24, 32, 40, 56, 64
_METH_FASTCALL, _METH_O = 0x80, 0x08
_DIGEST_BYTES = 32


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


@cache
def available() -> bool:
    """Whether this process can load object code."""
    plain = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    return bool(plain and sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8 and _arrays_lie_as_expected())


def _arrays_lie_as_expected() -> bool:
    def at(array: object, offset: int, kind: Any = ctypes.c_int64) -> int:
        return int(kind.from_address(id(array) + offset).value)

    for array in (np.zeros((2, 3, 5), np.int16)[:, 1:], np.zeros(7, np.int8)):
        found = [at(array, TYPE), at(array, DATA), at(array, DTYPE), *(at(array, offset, ctypes.c_int32) for offset in (DIMENSIONS, FLAGS))]
        if found != [id(np.ndarray), array.ctypes.data, id(array.dtype), array.ndim, array.flags.num]:
            return False
        shape, strides = ((ctypes.c_int64 * array.ndim).from_address(at(array, offset)) for offset in (SHAPE, STRIDES))
        if tuple(shape) != array.shape or tuple(strides) != array.strides:
            return False
    return all(id(np.dtype(name)) == id(np.zeros(1, name).dtype) for name in DTYPES)


@cache
def processor() -> str:
    """A short name of the processor, and of all that the environment tells Numba: code for one must not run on another."""
    numba = sorted((name, value) for name, value in os.environ.items() if name.startswith("NUMBA_"))
    try:
        features = llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM does not know this kind of processor; Numba does without, too
        features = ""
    text = repr((llvm.get_process_triple(), llvm.get_host_cpu_name(), features, numba))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sealed(code: bytes) -> bytes:
    """What is written to a file: a digest, and the object code."""
    return hashlib.sha256(code).digest() + code


def unsealed(content: bytes) -> bytes:
    """The object code in a file. Raises EOFError where the file is damaged."""
    digest, code = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(code).digest() != digest:
        raise EOFError("compiled code is damaged")
    return code


@cache
def _links() -> list[ctypes.c_int64 | int]:
    functions = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in FUNCTIONS]
    return [*functions, id(np.ndarray), *(id(np.dtype(name)) for name in DTYPES)]


@cache
def _target_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(codemodel="jitdefault", jit=True)


_loading = threading.Lock()
_held: list[object] = []  # what Python functions point to: code is never unloaded, as nobody can tell when the last of them is gone


class Loaded:
    """An object file in memory. call: its kernel as a Python function."""

    call: Callable[..., Any]

    def __init__(self, name: str, code: bytes):
        with _loading:
            engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            engine.finalize_object()
        links = engine.get_global_value_address("links")
        (ctypes.c_int64 * len(LINKS)).from_address(links)[:] = _links()
        self._methods = [
            _Method(name.encode(), engine.get_function_address(function), flags, None)
            for function, flags in (("call", _METH_FASTCALL), ("bound", _METH_O))
        ]
        _held.append((engine, self._methods))
        self.call = self._function(0, None)

    def bind(self, address: int, slow: Callable[[Any], Any], *kept: object) -> Callable[[Any], Any]:
        """A function of one array: the kernel at `address` where the array is one that the kernel takes and is content with.

        Otherwise slow(array) is called. Gives a bool for an array of one dimension, which is one step, else an int. `kept` is kept alive.
        """
        return self._function(1, (address, slow, *kept))

    def _function(self, index: int, bound_to: object) -> Callable[..., Any]:
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.argtypes, make.restype = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p), ctypes.py_object
        made: Callable[..., Any] = make(ctypes.addressof(self._methods[index]), bound_to, None)
        return made
