"""Models that are none: configs, weights, pickles, archives and graphs."""

# ruff: noqa: ARG005 - what makes a row takes both folders
from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.rows import Make, Row, nested, written

COUNT = "cost m --no-measure"
FILE = "cost ./m.pth --no-measure"
TENSORS = "cost ./m.safetensors --no-measure"
DEEP = 100_000


def config(change: Callable[[dict[str, Any]], object], model: str = "m", name: str = "config.json") -> Make:
    """A model folder in whose JSON something is changed; a text or bytes that `change` returns stand there instead."""

    def make(here: Path, base: Path) -> None:
        shutil.copytree(base / model, here / "m")
        content = json.loads((here / "m" / name).read_text()) if (here / "m" / name).is_file() else {}
        changed = change(content)
        if isinstance(changed, bytes):
            (here / "m" / name).write_bytes(changed)
        else:
            (here / "m" / name).write_text(changed if isinstance(changed, str) else json.dumps(content))

    return make


def _set(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


ENCODER, DECODER, MODEL = ("model", "encoder"), ("model", "decoder"), ("model",)
FIELDS: list[tuple[tuple[str, ...], Any, str]] = [
    ((*ENCODER, "kind"), ["vit"], "kind"),
    ((*ENCODER, "kind"), None, "kind"),
    ((*ENCODER, "image_size"), "big", "image_size"),
    ((*ENCODER, "image_size"), 10**9, "image_size"),
    ((*ENCODER, "num_heads"), [[1] * 20_000] * 3, "blocks"),
    ((*ENCODER, "num_heads"), [[1] * 10**6] * 3, "blocks|numbers|values"),
    ((*ENCODER, "num_heads"), {"a": 1}, "num_heads"),
    ((*ENCODER, "num_heads"), [[2], [2, 3], 2], "num_heads"),
    ((*ENCODER, "embed_dims"), 64, "embed_dims"),
    ((*ENCODER, "embed_dims"), [16, 24, 32, True], "embed_dims"),
    ((*ENCODER, "window_sizes"), [0, 14, 7], "window_sizes"),
    ((*ENCODER, "merge_strides"), [2, 2, 3], "merge_strides"),
    ((*ENCODER, "colour"), 3, "colour"),
    ((*DECODER, "norm_eps"), "small", "norm_eps"),
    ((*DECODER, "norm_eps"), -1, "norm_eps"),
    ((*DECODER, "norm_eps"), [1e-6], "norm_eps"),
    ((*DECODER, "num_heads"), 7, "num_heads"),
    ((*DECODER, "num_heads"), 3, "num_heads"),
    ((*DECODER, "object_score"), "no", "object_score"),
    ((*DECODER, "style"), ["sam"], "style"),
    ((*DECODER, "depth"), 1e9, "depth"),
    ((*DECODER,), [1, 2], "decoder"),
    ((*DECODER,), None, "decoder"),
    ((*ENCODER,), 7, "encoder"),
    ((*MODEL, "pixel_mean"), ["a", "b", "c"], "pixel_mean"),
    ((*MODEL, "pixel_mean"), 5, "pixel_mean"),
    ((*MODEL, "pixel_mean"), [1, 2], "pixel_mean"),
    ((*MODEL, "pixel_std"), [0, 0, 0], "pixel_std"),
    ((*MODEL, "pixel_std"), [1, 1, None], "pixel_std"),
    ((*MODEL, "mask_threshold"), "high", "mask_threshold"),
    ((*MODEL, "mask_threshold"), [0.0], "mask_threshold"),
    ((*MODEL, "resize"), 3, "resize"),
    ((*MODEL, "resize"), ["stretch"], "resize"),
    ((*MODEL, "score"), {}, "score"),
    (MODEL, "tiny", "model"),
    (MODEL, [1], "model"),
    (("format",), ["samlet"], "format"),
    (("version",), "1", "version"),
    (("version",), True, "version"),
    (("weights",), {"a": 1}, "weights"),
    (("quantization",), 7, "quantization"),
    (("quantization",), {"": {"weights": 8, "inputs": 8}}, "quantization"),
    (("quantization",), {"image_encoder": {"weights": 8}}, "quantization"),
]


def text(content: str | bytes, model: str = "m", name: str = "config.json") -> Make:
    return config(lambda _: content, model, name)


def safetensors(header: Any, data: bytes = bytes(64), length: int | None = None) -> Make:
    """A safetensors file with a header of one's own."""

    def make(here: Path, _base: Path) -> None:
        found = header() if callable(header) else header
        head = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        (here / "m.safetensors").write_bytes(struct.pack("<Q", len(head) if length is None else length) + head + data)

    return make


ONE = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


def archive(
    data: bytes | Callable[[], bytes], entries: int = 0, name: str = "m/data/{}", compressed: bool = False
) -> Make:
    """A PyTorch archive of a pickle."""

    def make(here: Path, _base: Path) -> None:
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(here / "m.pth", "w", kind) as file:
            file.writestr("m/data.pkl", data if isinstance(data, bytes) else data())
            for number in range(entries):
                file.writestr(name.format(number), b"")

    return make


class _Calls:
    def __init__(self, function: Any, *args: Any) -> None:
        self.parts = function, args

    def __reduce__(self) -> Any:
        return self.parts


def ordered(state: bytes) -> bytes:
    """A pickle of an OrderedDict with some state."""
    return b"\x80\x02ccollections\nOrderedDict\n)R" + state + b"."


def growing() -> bytes:
    """A dictionary that an OrderedDict's state doubles again and again."""
    parts = [b"\x80\x02}q\x00"]
    for number in range(1, 40):
        parts.append(b"ccollections\nOrderedDict\n(](]h%ch%ceeR}h%cbq%c" % (number - 1, number - 1, number - 1, number))
    return b"".join(parts) + b"."


def colliding(make: bytes = b"}", count: int = 60_000) -> bytes:
    """Keys that all have the same hash, as a pickle writes them: making that dictionary here would take as long."""
    keys = b"".join(b"\x8a\x0c" + ((2**61 - 1) * k).to_bytes(12, "little") + b"K\x00" for k in range(count))
    return b"\x80\x04" + make + b"(" + keys + b"u."


def wide(levels: int = 40) -> bytes:
    """Lists that hold the list before them twice."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found, found]
    return pickle.dumps(found, protocol=4)


def graph(change: Callable[[Path], object], target: str = "onnx") -> Make:
    """An exported model that is spoiled."""

    def make(here: Path, base: Path) -> None:
        shutil.copytree(base / target, here / "m")
        change(here / "m")

    return make


def _external(folder: Path) -> None:
    """The encoder's first weight lies, it says, in the file itself."""
    import onnx

    model = onnx.load(folder / "encoder.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "encoder.onnx"), ("offset", "0"), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (folder / "encoder.onnx").write_bytes(model.SerializeToString())


def _outside(folder: Path) -> None:
    import onnx

    _external(folder)
    model = onnx.load(folder / "encoder.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../../etc/passwd"
    (folder / "encoder.onnx").write_bytes(model.SerializeToString())


def cut(name: str, share: float = 0.5) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def manifest(change: Callable[[dict[str, Any]], object]) -> Make:
    return config(change, "onnx", "export.json")


POINT = "segment {base}/photos/a0.png --point 5,5 --model m --image-size 128 --out o"

ROWS: list[Row] = [
    *(
        Row(f"config {'.'.join(keys)} {json.dumps(value)[:30]}", COUNT, 2, said, config(_set(*keys, value=value)))
        for keys, value, said in FIELDS
    ),
    Row("config empty", COUNT, 2, "config.json", text("")),
    Row("config a list", COUNT, 2, "config.json", text("[]")),
    Row("config null", COUNT, 2, "config.json", text("null")),
    Row("config too deep", COUNT, 2, "deep", text(nested(DEEP))),
    Row(
        "config too deep in model",
        COUNT,
        2,
        "deep",
        text('{"format": "samlet", "version": 1, "model": ' + nested(DEEP) + "}"),
    ),
    Row("config not UTF-8", COUNT, 2, "config.json", text(b'{"format": "\xff"}')),
    Row("config of nulls", COUNT, 2, "config.json", text(b"\0" * 5000)),
    Row("config of 300 MB", COUNT, 2, "config.json", config(lambda c: '{"a": "' + "x" * 300_000_000 + '"}')),
    Row(
        "config of 30 million numbers", COUNT, 2, "config.json", config(lambda c: '{"a": [' + "1," * 30_000_000 + "1]}")
    ),
    Row("config with a number of 10,000 digits", COUNT, 2, "config.json", text('{"format": ' + "9" * 10_000 + "}")),
    Row("config cut short", COUNT, 2, "config.json", config(lambda c: json.dumps(c)[:200])),
    Row(
        "no weights",
        COUNT,
        2,
        "model.safetensors",
        lambda here, base: (shutil.copytree(base / "m", here / "m"), (here / "m/model.safetensors").unlink()),
    ),
    Row(
        "weights a folder",
        COUNT,
        2,
        "model.safetensors",
        lambda here, base: (
            shutil.copytree(base / "m", here / "m"),
            (here / "m/model.safetensors").unlink(),
            (here / "m/model.safetensors").mkdir(),
        ),
    ),
    Row(
        "weights cut short",
        COUNT,
        2,
        "model.safetensors",
        lambda here, base: (shutil.copytree(base / "m", here / "m"), cut("model.safetensors")(here / "m")),
    ),
    Row("HF model_type a list", COUNT, 2, "model_type", config(_set("model_type", value=["sam"]), "hf")),
    Row("HF decoder a list", COUNT, 2, "mask_decoder_config", config(_set("mask_decoder_config", value=[1]), "hf")),
    Row(
        "HF heads a text",
        COUNT,
        2,
        "num_attention_heads",
        config(_set("vision_config", "num_attention_heads", value="two"), "hf"),
    ),
    Row(
        "HF heads that do not divide",
        COUNT,
        2,
        "heads",
        config(_set("mask_decoder_config", "num_attention_heads", value=5), "hf"),
    ),
    Row(
        "HF eps a list",
        COUNT,
        2,
        "layer_norm_eps",
        config(_set("mask_decoder_config", "layer_norm_eps", value=[1]), "hf"),
    ),
    Row("HF eps negative", COUNT, 2, "eps", config(_set("mask_decoder_config", "layer_norm_eps", value=-5), "hf")),
    Row(
        "HF config too deep",
        COUNT,
        2,
        "deep",
        text('{"model_type": "sam", "vision_config": ' + nested(DEEP) + "}", "hf"),
    ),
    Row(
        "HF mean a text",
        COUNT,
        2,
        "image_mean",
        config(_set("image_mean", value="grey"), "hf", "preprocessor_config.json"),
    ),
    Row(
        "HF mean of four",
        COUNT,
        2,
        "image_mean",
        config(_set("image_mean", value=[1, 2, 3, 4]), "hf", "preprocessor_config.json"),
    ),
    Row(
        "HF deviation of zero",
        COUNT,
        2,
        "pixel_std",
        config(_set("image_std", value=[0, 0, 0]), "hf", "preprocessor_config.json"),
    ),
    Row("HF preprocessor too deep", COUNT, 2, "deep", text(nested(DEEP), "hf", "preprocessor_config.json")),
    Row(
        "HF index that climbs",
        COUNT,
        2,
        "same folder",
        lambda here, base: (
            shutil.copytree(base / "hf", here / "m"),
            (here / "m/model.safetensors").rename(here / "m/x.safetensors"),
            (here / "m/model.safetensors.index.json").write_text('{"weight_map": {"a": "../m.safetensors"}}'),
        ),
    ),
    Row(
        "HF index of numbers",
        COUNT,
        2,
        "weight_map",
        lambda here, base: (
            shutil.copytree(base / "hf", here / "m"),
            (here / "m/model.safetensors").unlink(),
            (here / "m/model.safetensors.index.json").write_text('{"weight_map": {"a": 7}}'),
        ),
    ),
    Row(
        "adapters beside it, too deep, which it does not have",
        "cost ./m.safetensors --no-measure",
        0,
        "",
        lambda here, base: (
            shutil.copy(base / "m.safetensors", here),
            (here / "adapter_config.json").write_text(nested(DEEP)),
        ),
    ),
    Row("a header of 2**60 bytes", TENSORS, 2, "safetensors", safetensors("{}", length=1 << 60)),
    Row("a header too deep", TENSORS, 2, "m.safetensors", safetensors(nested(40_000))),
    Row("keys twice", TENSORS, 2, "twice", safetensors('{"a": %s, "a": %s}' % ((json.dumps(ONE),) * 2), bytes(16))),
    Row("strides", TENSORS, 2, "strides", safetensors({"a": {**ONE, "strides": [2]}}, bytes(16))),
    Row(
        "fields twice",
        TENSORS,
        2,
        "twice",
        safetensors('{"a": {"dtype": "F32", "shape": [4], "shape": [2], "data_offsets": [0, 16]}}', bytes(16)),
    ),
    Row("a negative size", TENSORS, 2, "m.safetensors", safetensors({"a": {**ONE, "shape": [-4]}}, bytes(16))),
    Row("a type of tomorrow", TENSORS, 2, "m.safetensors", safetensors({"a": {**ONE, "dtype": "F12"}}, bytes(16))),
    Row("tensors over one another", TENSORS, 2, "m.safetensors", safetensors({"a": ONE, "b": ONE}, bytes(16))),
    Row(
        "a million tensors of nothing",
        TENSORS,
        2,
        "m.safetensors",
        safetensors(
            lambda: {f"a{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(1_000_000)}, b""
        ),
    ),
    Row(
        "metadata of numbers", TENSORS, 2, "m.safetensors", safetensors({"__metadata__": {"a": 1}, "a": ONE}, bytes(16))
    ),
    Row("an empty file", TENSORS, 2, "empty", written("m.safetensors", b"")),
    Row(
        "a checkpoint cut short",
        FILE,
        2,
        "truncated",
        lambda here, base: (here / "m.pth").write_bytes((base / "m.pth").read_bytes()[:9000]),
    ),
    Row("a pickle that calls", FILE, 2, "system", archive(pickle.dumps({"a": _Calls(os.system, "true")}, 2))),
    Row("OrderedDicts that grow by state", FILE, 2, "m.pth", archive(growing)),
    Row("an OrderedDict with a list for state", FILE, 2, "m.pth", archive(ordered(b"]b"))),
    Row("keys that collide", FILE, 2, "m.pth", archive(colliding)),
    Row(
        "keys that collide in an OrderedDict",
        FILE,
        2,
        "m.pth",
        archive(lambda: colliding(b"ccollections\nOrderedDict\n)R")),
    ),
    Row("lists that double", FILE, 2, "m.pth", archive(wide)),
    Row("a pickle too deep", FILE, 2, "m.pth", archive(lambda: b"\x80\x02" + b"](" * 50_000 + b"e" * 50_000 + b".")),
    Row(
        "a pickle of 10 million numbers",
        FILE,
        2,
        "m.pth",
        archive(lambda: b"\x80\x02](" + b"K\x01" * 10_000_000 + b"e."),
    ),
    Row(
        "a pickle of a number of a million digits",
        FILE,
        2,
        "m.pth",
        archive(b"\x80\x02\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000 + b"."),
    ),
    Row("a pickle of a long decimal", FILE, 2, "m.pth", archive(b"\x80\x02L" + b"9" * 100_000 + b"L\n.")),
    Row("a bare pickle that never ends", FILE, 2, "m.pth", written("m.pth", b"\x80\x02" + b"(" * 1_000_000)),
    Row("an archive of 300,000 entries", FILE, 2, "entries", archive(pickle.dumps({}, 2), 300_000)),
    Row("an archive whose paths climb", FILE, 2, "m.pth", archive(pickle.dumps({}, 2), 3, "../../m/data/{}")),
    Row("an archive that is packed", FILE, 2, "compressed", archive(bytes(1 << 24), compressed=True)),
    Row(
        "an archive of other things",
        FILE,
        2,
        "m.pth",
        lambda here, base: zipfile.ZipFile(here / "m.pth", "w").writestr("readme.txt", "hello"),
    ),
    Row("a web page", FILE, 2, "web page", written("m.pth", "<!DOCTYPE html><html></html>")),
    Row("a photograph", FILE, 2, "m.pth", written("m.pth", b"\xff\xd8\xff\xe0" + bytes(100))),
    Row("a pipe", FILE, 2, "m.pth", lambda here, base: os.mkfifo(here / "m.pth")),
    Row("a link to itself", FILE, 2, "m.pth", lambda here, base: (here / "m.pth").symlink_to("m.pth")),
    Row("a device", "cost /dev/zero --no-measure", 2, "/dev/zero"),
    Row("a name too long", f"cost {'x' * 5000} --no-measure", 2, "xxx"),
    Row("a path too long", f"cost {'x/' * 3000} --no-measure", 2, "x/x"),
    Row("no such user", "cost ~nobody-such/m --no-measure", 2, "nobody-such"),
    Row("an empty folder", COUNT, 2, "config.json", lambda here, base: (here / "m").mkdir()),
    Row("export.json a list", POINT, 2, "export.json", text("[]", "onnx", "export.json")),
    Row("export.json too deep", POINT, 2, "deep", text(nested(DEEP), "onnx", "export.json")),
    Row(
        "export.json of a file that climbs",
        POINT,
        2,
        "files.encoder",
        manifest(_set("files", "encoder", value="../m/encoder.onnx")),
    ),
    Row("export.json of other sizes", POINT, 2, "image_sizes", manifest(_set("image_sizes", value=[17]))),
    Row(
        "export.json of a million sizes",
        POINT,
        2,
        "image_sizes",
        manifest(_set("image_sizes", value=[16.5] * 1_000_000)),
    ),
    Row(
        "export.json of heads that do not divide",
        POINT,
        2,
        "num_heads",
        manifest(_set("model", "decoder", "num_heads", value=7)),
    ),
    Row("ONNX cut short", POINT, 2, "encoder.onnx", graph(cut("encoder.onnx"))),
    Row("ONNX of nothing", POINT, 2, "encoder.onnx", graph(cut("encoder.onnx", 0))),
    Row("ONNX that lies in itself", POINT, 2, "encoder.onnx", graph(_external)),
    Row("ONNX that lies elsewhere", POINT, 2, "encoder.onnx", graph(_outside)),
    Row("OpenVINO XML cut short", POINT, 2, "encoder.xml", graph(cut("encoder.xml"), "openvino")),
    Row("OpenVINO weights cut short", POINT, 2, "encoder", graph(cut("encoder.bin"), "openvino")),
    Row(
        "OpenVINO XML with entities",
        POINT,
        2,
        "encoder.xml",
        graph(lambda m: (m / "encoder.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><net name="&a;"/>'), "openvino"),
    ),
    Row(
        "FastSAM that is none",
        "label --teacher ./m.onnx --images {base}/photos --out o",
        2,
        "m.onnx",
        written("m.onnx", b"hello"),
    ),
]
