"""Exported folders of one small model, made once: they are graphs that real runtimes run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import samlet
from samlet.models import Sam
from tests.runtimes import exporting


@pytest.fixture(scope="session")
def sam() -> Sam:
    """The model that was exported."""
    return exporting.make_sam()


@pytest.fixture(scope="session")
def onnx_folder(sam, tmp_path_factory) -> Path:
    """For ONNX Runtime, open to all sizes."""
    folder = tmp_path_factory.mktemp("onnx")
    exporting.write_encoder(sam, folder / "encoder.onnx")
    exporting.write_decoder(sam, folder / "decoder.onnx")
    return exporting.write_description(folder, exporting.describe(sam, "onnx"))


@pytest.fixture(scope="session")
def openvino_folder(sam, onnx_folder, tmp_path_factory) -> Path:
    """For OpenVINO, open to all sizes."""
    openvino = pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("openvino")
    for part in ("encoder", "decoder"):
        graph = openvino.Core().read_model(str(onnx_folder / f"{part}.onnx"))
        openvino.save_model(graph, str(folder / f"{part}.xml"), compress_to_fp16=False)
    return exporting.write_description(folder, exporting.describe(sam, "openvino"))


@pytest.fixture(scope="session")
def fixed_folder(sam, onnx_folder, tmp_path_factory) -> Path:
    """For ONNX Runtime, with fixed shapes and one mask for all prompts."""
    folder = tmp_path_factory.mktemp("fixed")
    shutil.copy(onnx_folder / "encoder.onnx", folder)
    exporting.fix_shapes(onnx_folder / "decoder.onnx", folder / "decoder.onnx", masks=1)
    return exporting.write_description(folder, exporting.describe(sam, "onnx", **exporting.FIXED))


@pytest.fixture(scope="session")
def native_folder(sam, tmp_path_factory) -> Path:
    """The model itself as a native folder."""
    folder = tmp_path_factory.mktemp("models") / "native"
    samlet.save(sam, folder)
    return folder


@pytest.fixture(params=["onnx", "openvino"])
def folder(request) -> Path:
    """Each of the targets that are open to all sizes."""
    return request.getfixturevalue(f"{request.param}_folder")
