"""Writing the generated C: all texts are made before the first file is touched, and each file is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_lstm.errors import EdgeLstmError
from edge_lstm.files import write_text
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from firmware_gen.activity import LayerActivity
from firmware_gen.header import TEMPLATES, render_header
from firmware_gen.model import build
from firmware_gen.selftest import selftest


def write(
    network: IntegerNetwork, folder: str | os.PathLike[str], *, self_test: npt.NDArray[np.int16] | None = None, prefix: str | None = None,
    example: bool = False, strategy: str | None = None, target: str | None = None, activity: Sequence[LayerActivity] | None = None,
) -> list[Path]:  # fmt: skip
    """Writes `<prefix>.h` into `folder` (made if it is missing), and on request `<prefix>_selftest.c` and `<prefix>_example.c`.

    self_test: int16 counts [vectors, samples, channels] for the self-test, None for none; prefix: the model's name when None.
    strategy, target, activity: as for `header`. Returns the paths, the header first.
    Raises EdgeLstmError if the network has no C form, the vectors do not fit, or the folder cannot be written; UsageError for an
    unusable prefix, an unknown strategy or target. Nothing is written then.
    """
    model = build(network, prefix, strategy, target=target, activity=activity)
    texts = {f"{model.prefix}.h": render_header(model)}
    if self_test is not None:
        texts[f"{model.prefix}_selftest.c"] = selftest(model, self_test)
    if example:
        template = TEMPLATES.get_template("example.c.j2")
        texts[f"{model.prefix}_example.c"] = template.render(
            p=model.prefix, P=model.prefix.upper(), network=network, again=model.begin_window
        )
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeLstmError(f"cannot make the folder {place}: {error.strerror or error}; choose another place") from error
    for name, text in texts.items():
        write_text(place / name, text)
    return [place / name for name in texts]
