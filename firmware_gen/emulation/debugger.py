"""The remote protocol of the GNU debugger over pipes: enough of it to run functions on a stopped core of QEMU."""

from __future__ import annotations

import os
import re
import subprocess
import weakref
from collections.abc import Sequence
from types import TracebackType

from edge_lstm.errors import EdgeLstmError

CHUNK = 2000  # bytes of memory in one packet
PACKET = re.compile(rb"\$([^#]*)#..")
BREAKPOINT_OF_2_BYTES = 2


class EmulatorEndedError(EdgeLstmError):
    """The emulator is gone. output: what it said."""

    def __init__(self, name: str, output: str):
        super().__init__(f"{name} ended: {(output.strip().splitlines() or ['no message'])[0]}")
        self.output = output


class Debugger:
    """An emulator that waits for a debugger on its standard input and output. command: starts it."""

    def __init__(self, command: Sequence[str]):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        weakref.finalize(self, self._process.kill)  # however the debugger goes, the emulator goes with it
        self._name, self._pending = command[0], b""
        self.ask("qSupported:xmlRegisters=arm")
        self.ask("qXfer:features:read:target.xml:0,ffb")  # only then are registers read and written one by one

    def ask(self, packet: str) -> str:
        """The answer to a packet. Raises EmulatorEndedError if the emulator is gone, EdgeLstmError if it answers with an error."""
        assert self._process.stdin is not None
        framed = b"$%s#%02x" % (packet.encode(), sum(packet.encode()) % 256)
        try:
            self._process.stdin.write(framed)
            self._process.stdin.flush()
            answer = self._answer()
        except BrokenPipeError:
            answer = None
        if answer is None:
            self._process.kill()
            _, errors = self._process.communicate()
            raise EmulatorEndedError(self._name, errors.decode("utf-8", "replace"))
        if answer.startswith("E") and len(answer) == 3:
            raise EdgeLstmError(f"{self._name} refuses {packet[:40]}: error {answer[1:]}")
        return answer

    def _answer(self) -> str | None:
        """The content of the next packet, None at the end of the output."""
        output = self._process.stdout
        assert output is not None
        while not (found := PACKET.search(self._pending)):
            came = os.read(output.fileno(), 1 << 16)
            if not came:
                return None
            self._pending += came
        self._pending = self._pending[found.end() :]
        assert self._process.stdin is not None
        self._process.stdin.write(b"+")
        return found[1].decode("ascii", "replace")

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        return b"".join(
            bytes.fromhex(self.ask(f"m{address + at:x},{min(CHUNK, size - at):x}")) for at in range(0, size, CHUNK)
        )  # fmt: skip

    def write(self, address: int, content: bytes) -> None:
        """Puts `content` into memory."""
        for at in range(0, len(content), CHUNK):
            part = content[at : at + CHUNK]
            self.ask(f"M{address + at:x},{len(part):x}:{part.hex()}")

    def register(self, number: int) -> int:
        """The value of a 32-bit register."""
        return int.from_bytes(bytes.fromhex(self.ask(f"p{number:x}")), "little")

    def set_register(self, number: int, value: int) -> None:
        """Sets a 32-bit register."""
        self.ask(f"P{number:x}={value.to_bytes(4, 'little').hex()}")

    def stop_at(self, address: int) -> None:
        """The core stops in front of the instruction there."""
        self.ask(f"Z0,{address:x},{BREAKPOINT_OF_2_BYTES}")

    def go(self) -> None:
        """Lets the core run until it stops."""
        self.ask("c")

    def close(self) -> None:
        """Ends the emulator."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Debugger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
