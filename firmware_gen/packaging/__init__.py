"""A header as a package of an ecosystem: a folder that Arduino, PlatformIO, Zephyr, CMake or the tools of CMSIS-Pack take as it is.

Each ecosystem is one small module that lists the files of its folder and the templates that make them; `writing.write` writes them all,
or nothing.
"""

from firmware_gen.packaging.writing import PACKAGERS, write

__all__ = ["PACKAGERS", "write"]
