"""From an integer network to C: one portable header that gives the bits of the reference, its self-test, and what it costs.

`header` makes the text, `write` the files, `footprint` compiles it and measures flash and RAM; `host.HostModel` runs it on this machine.
"""

from firmware_gen.files import write
from firmware_gen.footprint import Footprint, footprint
from firmware_gen.header import header

__all__ = ["Footprint", "footprint", "header", "write"]
