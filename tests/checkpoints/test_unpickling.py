"""The restricted reader: the same tensors as PyTorch's own, and nothing that a file asks for runs or grows."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import random
import struct
import zipfile
from functools import partial

import pytest
import torch
from torch import nn

from samlet.checkpoints.prescan import DamagedError, UnsafeError
from samlet.checkpoints.unpickling import PickleStub, read_file
from tests.conftest import peak_growth


def saved(content, path, legacy):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_equal_those_of_torch(tmp_path, legacy):
    base = torch.arange(24.0).view(4, 6)
    content = {
        "rows": base[1:3],
        "turned": base.T,
        "none": torch.zeros(0, 3),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "half": torch.randn(5).half(),
        "brain": torch.randn(5).bfloat16(),
        "flags": torch.tensor([True, False]),
        "parameter": nn.Parameter(torch.randn(3)),
        "nested": collections.OrderedDict(a=[torch.ones(2), ("text", 1.5, None)]),
    }
    path = saved(content, tmp_path / "m.pth", legacy)
    found, expected = read_file(path), torch.load(path, weights_only=True)
    for name in content.keys() - {"nested"}:
        assert found[name].dtype == expected[name].dtype
        assert torch.equal(found[name], expected[name]), name
    assert found["nested"]["a"][0].equal(torch.ones(2))
    assert found["nested"]["a"][1] == ("text", 1.5, None)


def test_a_pickled_module_becomes_records(tmp_path):
    module = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    module.maker = partial(nn.LayerNorm, eps=1e-6)
    found = read_file(saved(nn.DataParallel(module), tmp_path / "m.pth", False))
    assert isinstance(found, PickleStub)
    assert found.path == "torch.nn.parallel.data_parallel.DataParallel"
    inner = found.state["_modules"]["module"]
    linear = inner.state["_modules"]["0"]
    assert linear.path == "torch.nn.modules.linear.Linear"
    assert linear.state["in_features"] == 3
    assert torch.equal(linear.state["_parameters"]["weight"], module[0].weight)
    assert inner.state["maker"].path == "functools.partial"


class Calls:
    """Pickles to a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def evils(marker):
    return {
        "system": (Calls(os.system, f"touch {marker}"), "posix.system"),
        "open": (Calls(open, str(marker), "w"), "open"),
        "eval": (Calls(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        "import": (Calls(__import__, "this"), "builtins.__import__"),
        "bytes": (Calls(bytearray, 1 << 42), "builtins.bytearray"),
        "tensor": (Calls(torch.zeros, 1 << 40), "torch._C._VariableFunctionsClass"),  # so PyTorch pickles functions
        "storage": (Calls(torch.FloatTensor, 1 << 40), "FloatTensor"),
        "attribute": (Calls(getattr, zipfile.ZipFile, "extractall"), "zipfile.ZipFile"),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", sorted(evils("")))
@pytest.mark.parametrize("place", ["alone", "model", "value", "key", "module", "argument"])
def test_nothing_runs_wherever_it_stands(tmp_path, kind, place, legacy):
    marker = tmp_path / "owned"
    evil, name = evils(marker)[kind]
    module = nn.Linear(2, 2)
    module.extra = evil
    content = {
        "alone": evil,
        "model": {"model": evil},
        "value": {"image_encoder.pos_embed": torch.zeros(1), "x": [evil]},
        "key": {evil: torch.zeros(1)},
        "module": module,
        "argument": {"x": Calls(collections.OrderedDict, [("a", evil)])},
    }[place]
    path = saved(content, tmp_path / "m.pth", legacy)
    with pytest.raises(UnsafeError) as caught:
        read_file(path)
    assert name in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_an_attribute_of_a_known_class_is_recorded_and_not_asked_for(tmp_path, legacy):
    module = nn.Linear(2, 2)
    module.forward = module.extra_repr  # a bound method, whose pickle leads back to the module
    content = {"method": Calls(getattr, nn.Linear, "forward"), "module": module, "type": torch.float32}
    found = read_file(saved(content, tmp_path / "m.pth", legacy))
    assert (found["method"].path, found["method"].args[1]) == ("builtins.getattr", "forward")
    bound = found["module"].state["forward"]
    assert bound.args[0] is found["module"]
    assert bound.args[1] == "extra_repr"


def test_what_an_attribute_would_be_is_never_called(tmp_path):
    method = b"c__builtin__\ngetattr\nctorch.nn.modules.linear\nLinear\nX\x07\x00\x00\x00forward\x86R"
    assert read_file(archive(tmp_path / "named.pth", b"\x80\x02" + method + b".")).path == "builtins.getattr"
    with pytest.raises(DamagedError):
        read_file(archive(tmp_path / "called.pth", b"\x80\x02" + method + b")R."))


def archive(path, data, storages=(), compressed=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as file:
        file.writestr("m/data.pkl", data)
        for key, numbers in storages:
            file.writestr(f"m/data/{key}", numbers)
    return path


def tensor_pickle(count=4, size=(4,), stride=(1,), offset=0, key="0"):
    """A pickle of one tensor, written by hand."""

    class Writer(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, key, "cpu", count) if obj is place else None

    place = object()
    stream = io.BytesIO()
    args = (place, offset, size, stride, False, collections.OrderedDict())
    Writer(stream, 2).dump({"x": Calls(torch._utils._rebuild_tensor_v2, *args)})
    return stream.getvalue()


def test_a_tensor_written_by_hand(tmp_path):
    path = archive(tmp_path / "m.pth", tensor_pickle(), [("0", struct.pack("<4f", 1, 2, 3, 4))])
    assert read_file(path)["x"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"size": (1 << 20, 1 << 20), "stride": (0, 0)},
        {"size": (5,)},
        {"offset": 1},
        {"offset": -1},
        {"stride": (-1,)},
        {"size": (2, 2)},
        {"count": 1 << 40},
        {"count": 3},
        {"key": "1"},
        {"key": "../../../etc/passwd"},
    ],
)
def test_tensors_claim_no_more_than_there_is(tmp_path, change):
    path = archive(tmp_path / "m.pth", tensor_pickle(**change), [("0", bytes(16))])
    with pytest.raises(DamagedError):
        read_file(path)


def test_nothing_grows(tmp_path):
    memo = b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFF0) + b"."
    long_text = b"\x80\x04\x8d" + struct.pack("<Q", 1 << 50) + b"x."
    array = b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x."
    laughs = b"\x80\x02" + b"]" + b"".join(b"(h%c" % n + b"h%c" % n + b"lq%c" % (n + 1) for n in range(1, 60)) + b"."
    files = []
    for i, data in enumerate((memo, long_text, array, laughs, b"\x80\x02" + b"]" * 50_000 + b".")):
        files += [archive(tmp_path / f"{i}.pth", data), tmp_path / f"bare{i}.pth"]
        files[-1].write_bytes(data)
    bomb = archive(tmp_path / "bomb.pth", bytes(1 << 26), compressed=True)

    def read_all():
        for path in files:
            with contextlib.suppress(DamagedError, UnsafeError):
                read_file(path)
        with pytest.raises(DamagedError, match="compressed"):
            read_file(bomb)

    assert peak_growth(read_all) < 60e6  # the bomb alone would be more


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_with_any_byte_changed_or_cut_ends_in_an_answer_or_one_error(tmp_path, legacy):
    path = saved({"a": torch.randn(3), "b": nn.Linear(2, 2)}, tmp_path / "m.pth", legacy)
    content = path.read_bytes()
    source = random.Random(0)
    for trial in range(300):
        damaged = bytearray(content)
        if trial % 3 == 0:
            del damaged[source.randrange(len(damaged)) :]
        for _ in range(source.randrange(1, 6)):
            if damaged:
                damaged[source.randrange(len(damaged))] = source.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            read_file(path)
        except (DamagedError, UnsafeError) as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path):
    key = (1,)
    for _ in range(60):
        key = (key, key)
    path = tmp_path / "m.pth"
    path.write_bytes(pickle.dumps([key], protocol=2))
    with pytest.raises(DamagedError, match="holds more than"):
        read_file(path)
