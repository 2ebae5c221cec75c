"""From a Python function to object code that `machine_code` loads: compiled by Numba, linked with all that it calls, nothing left open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba.core import compiler, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from edge_lstm.engine.python_calls import PythonCalls

_OPEN = ("call", "bound", "links")  # what others may see of an object file


@global_compiler_lock
def object_code(function: Callable[..., Any], signature: str) -> bytes:
    """Object code of `function` for one Numba signature, for this processor.

    Raises RuntimeError where something that is called cannot be linked, and whatever Numba raises.
    """
    arguments, result = sigutils.normalize_signature(signature)
    typing_context, context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    context.refresh()
    flags: Any = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model, flags.nrt = "numpy", True
    library: Any = context.codegen().create_library(f"edge_lstm {function.__name__}")
    compiled = compiler.compile_internal(typing_context, context, library, function, arguments, result, flags, {})
    wrapper = library.create_ir_module("calls")
    PythonCalls(wrapper, context, compiled.fndesc.llvm_func_name, arguments, result)
    library.add_ir_module(wrapper)
    # As CodeLibrary.finalize does, which would hand the module over to Numba's own loader.
    module = library._final_module
    for called in dict.fromkeys(library._linking_libraries):
        module.link_in(called._get_module_for_linking(), preserve=True)
    for thing in (*module.functions, *module.global_variables):
        if not thing.is_declaration and thing.name not in _OPEN:
            thing.linkage = llvm.Linkage.internal
    library._optimize_final_module()
    module.verify()
    missing = [thing.name for thing in module.functions if thing.is_declaration and not thing.name.startswith("llvm.")]
    if missing:
        raise RuntimeError(f"{function.__name__} calls {', '.join(missing)}, which object code cannot reach")
    return bytes(context.codegen()._tm.emit_object(module))
