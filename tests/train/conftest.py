from interpreted import without_compiling

__all__ = ["without_compiling"]
