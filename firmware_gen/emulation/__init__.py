"""What a generated header costs on a microcontroller, without a board: compiled for it, run in an emulator, every instruction counted.

`profile` does one target, `profiles` several; `TARGETS` lists them. The emulator, the disassembler and the compiler come with the extra
`mcu`. docs/firmware.md says how all this is measured and what is not modelled.
"""

from firmware_gen.emulation.memory import Flash, Ram
from firmware_gen.emulation.profiling import Cost, Profile, profile, profiles
from firmware_gen.emulation.targets import TARGETS, Target, target

__all__ = ["TARGETS", "Cost", "Flash", "Profile", "Ram", "Target", "profile", "profiles", "target"]
