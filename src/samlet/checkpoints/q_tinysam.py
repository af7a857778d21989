"""Q-TinySAM as published (`tinysam_w8a8.pth`): a whole pickled module of float weights and the scales to round them by.

Shu et al., "TinySAM", 2023, section 3.3. Reading rounds the weights, folds the batch norms into them, and lets the
layers that the file quantizes round their inputs (`samlet.models.quantized`). The products of attention are computed in
float: the file may have modules that quantize them, but the published attention multiplies without them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from samlet.checkpoints import mobile_sam as tiny
from samlet.checkpoints.modules import Attributes, PickledModule, described
from samlet.checkpoints.reading import StateDict, shorten
from samlet.errors import CheckpointError
from samlet.models import Sam
from samlet.models.quantized import InputQuantizer, fake_quantize, quantized

_CLASS = re.compile(r"(?:tinysam\.)?quantization_layer\.(?:layers\.)?(InferQuant\w+)")
_PRODUCTS = ("InferQuantMatMul", "InferQuantMatMulPost")
_LINEAR = ("w_interval", "a_interval", "n_V", "n_H", "n_a", "crb_rows", "crb_cols", "crb_acts")
_CONVOLUTION = ("w_interval", "a_interval", "a_bias", "n_V", "n_H")
_KINDS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "InferQuantLinear": (nn.Linear, _LINEAR),
    "InferQuantLinearPost": (nn.Linear, (*_LINEAR, "a_neg_interval")),
    "InferQuantConv2d": (nn.Conv2d, _CONVOLUTION),
    "InferQuantConvTranspose2d": (nn.ConvTranspose2d, _CONVOLUTION),
}
_CLASSIFIER = {"image_encoder.norm_head", "image_encoder.head"}  # of the pretraining; nothing uses it
_BODY = re.compile(r"(image_encoder\.(?:patch_embed|layers)\..+?|.+(?=\.c\.))(\.c|)\.weight")
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_UNIT_VARIANCE = 1 - 1e-5  # to which batch norm adds its epsilon
_OURS = {"patch_embed.seq.0": "patch_embed.conv1", "patch_embed.seq.2": "patch_embed.conv2"}


def matches(module: PickledModule) -> bool:
    """Whether a module has layers of this format's classes."""
    return any(_CLASS.fullmatch(path) for path in module.classes.values())


def read(module: PickledModule, path: Path) -> Sam:
    """A model from a pickled module.

    Raises:
        CheckpointError: names, shapes or settings are not those of the format; every tensor must have its use.
    """
    found = {name: match[1] for name, class_path in module.classes.items() if (match := _CLASS.fullmatch(class_path))}
    unused = {name for name, kind in found.items() if kind in _PRODUCTS} | _CLASSIFIER
    state = {name: value for name, value in module.tensors.items() if not _is_inside(name, unused)}
    buffers = {**module.non_persistent, **state}
    layers: list[_Layer] = []
    for name, kind in found.items():
        if _is_inside(name, unused):
            continue
        if kind not in _KINDS:
            raise CheckpointError(f"{path} has {name} of class {kind[:80]}; expected one of {', '.join(_KINDS)}")
        scales = {part: buffers[f"{name}.{part}"] for part in _KINDS[kind][1] if f"{name}.{part}" in buffers}
        for part in scales:
            state.pop(f"{name}.{part}", None)
        layer = _Layer(name, kind, scales, module.attributes[name], path)
        if layer.setting("mode") != "raw":
            layer.round_weight(state)
            layers.append(layer)
    sam = tiny.read(_with_batch_norms(state, path), path)
    for layer in layers:
        layer.put_into(sam)
    return sam


def _is_inside(name: str, modules: set[str]) -> bool:
    """Whether a name is that of one of some modules, or of something in one."""
    parts = name.split(".")
    return any(".".join(parts[:i]) in modules for i in range(1, len(parts) + 1))


@dataclass(frozen=True)
class _Layer:
    """A layer that the file quantizes, by its published name."""

    name: str
    kind: str
    scales: StateDict
    attributes: Attributes
    path: Path

    def refused(self, found: str, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} has {self.kind} {self.name} with {found}; expected {expected}. "
            "The file is damaged or of another version"
        )

    def setting(self, name: str) -> str | int:
        """An attribute of the layer, checked: `mode`, `w_bit` or `a_bit`."""
        value = self.attributes.get(name)
        if name == "mode":
            if value not in ("raw", "quant_forward"):
                raise self.refused(f"mode {described(value)}", "raw or quant_forward")
            return str(value)
        if not isinstance(value, int) or not 2 <= value <= 32:
            raise self.refused(f"{name} {described(value)}", "2 to 32")
        largest = self.attributes.get(f"{name[0]}_qmax", 2 ** (value - 1))
        if largest != 2 ** (value - 1):
            raise self.refused(f"{name} {value} and {name[0]}_qmax {described(largest)}", "2 ** (bits - 1)")
        return value

    def scale(self, name: str, positive: bool = True) -> Tensor:
        """One of the buffers as float32, checked."""
        value = self.scales.get(name)
        if value is None or not value.is_floating_point() or not value.numel():
            raise self.refused(f"no {name}", f"{name} as a float tensor")
        value = value.float()
        if not bool(value.isfinite().all()) or (positive and not bool((value > 0).all())):
            raise self.refused(f"values of {name} from {value.min():g} to {value.max():g}", "finite scales above 0")
        return value

    def round_weight(self, state: StateDict) -> None:
        """Round the weight in a state dict: a linear layer's in blocks, a convolution's by broadcasting."""
        name, levels, scale = f"{self.name}.weight", 2 ** (int(self.setting("w_bit")) - 1), self.scale("w_interval")
        weight = state.get(name)
        if weight is None or weight.ndim != (2 if _KINDS[self.kind][0] is nn.Linear else 4):
            raise self.refused(
                "no weight" if weight is None else f"weight of {tuple(weight.shape)}", "a weight of its kind"
            )
        blocks = weight
        if weight.ndim == 2 and scale.numel() > 1:
            rows, columns = scale.shape[0], scale.shape[2] if scale.ndim > 2 else 0
            divides = columns and not (weight.shape[0] % rows or weight.shape[1] % columns)
            if not divides or scale.shape != (rows, 1, columns, 1):
                raise self.refused(
                    f"w_interval of {tuple(scale.shape)}", f"blocks of a weight of {tuple(weight.shape)}"
                )
            blocks = weight.reshape(rows, weight.shape[0] // rows, columns, weight.shape[1] // columns)
            self._check(n_V=rows, n_H=columns, crb_rows=blocks.shape[1], crb_cols=blocks.shape[3])
        elif weight.ndim == 2:
            scale = scale.flatten()
        elif scale.ndim > 4 or any(
            a not in (1, b) for a, b in zip(scale.shape[::-1], weight.shape[::-1], strict=False)
        ):
            raise self.refused(f"w_interval of {tuple(scale.shape)}", f"one for a weight of {tuple(weight.shape)}")
        state[name] = fake_quantize(blocks, scale, -levels, levels - 1).view(weight.shape)

    def put_into(self, sam: Sam) -> None:
        """Replace the float layer that stands in a model under this name."""
        ours = self.name.removesuffix(".c")
        for theirs, own in _OURS.items():
            ours = ours.replace(theirs, own)
        parent, _, last = ours.rpartition(".")
        layer = sam.get_submodule(ours)
        made = quantized(layer, self._inputs(layer)) if isinstance(layer, _KINDS[self.kind][0]) else None
        if made is None:
            raise self.refused(f"the place of a {type(layer).__name__}", "a layer of its kind")
        setattr(sam.get_submodule(parent), last, made)

    def _inputs(self, layer: nn.Module) -> InputQuantizer | None:
        bits = int(self.setting("a_bit"))
        if isinstance(layer, nn.Linear):
            twin = "a_neg_interval" in _KINDS[self.kind][1]
            return InputQuantizer(
                self._chunks("a_interval", layer.in_features, 0),
                bits,
                negative_scale=self._chunks("a_neg_interval", 1, 0) if twin else None,
            )
        if bits == 32:  # inputs as they are
            return None
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        scale, offset = (self._chunks(part, layer.in_channels, 2) for part in ("a_interval", "a_bias"))
        return InputQuantizer(scale, bits, axes_behind=2, offset=offset)

    def _chunks(self, name: str, channels: int, axes_behind: int) -> Tensor:
        """Steps of equal chunks of the channels (chunks,): one, or of a linear layer any, of a convolution all."""
        scale = self.scale(name, positive=name != "a_bias")
        chunks = scale.numel()
        if chunks > 1:
            fits = scale.shape == (chunks, 1) and channels % chunks == 0
            if axes_behind:
                fits = chunks == channels and scale.shape in ((channels, 1, 1), (1, channels, 1, 1))
            if not fits:
                raise self.refused(f"{name} of {tuple(scale.shape)}", f"one for {channels} channels of the input")
            self._check(n_a=chunks, crb_acts=channels // chunks)
        return scale.flatten().clone()

    def _check(self, **expected: int) -> None:
        """Refuse counters of blocks that are not what the shapes of the scales say."""
        for name, value in expected.items():
            found = self.scales.get(name)
            if found is not None and (found.numel() != 1 or found.item() != value):
                shown = found.item() if found.numel() == 1 else f"of {tuple(found.shape)}"
                raise self.refused(f"{name} {shown}", f"{value}, as its scales say")


def _with_batch_norms(state: StateDict, path: Path) -> StateDict:
    """The state dict with a batch norm beside every convolution of the encoder, and no bias in it, as TinySAM's has.

    A convolution whose batch norm is folded already gets one that adds its bias and changes nothing else.
    """
    made = dict(state)
    wrong: list[str] = []
    norms: set[str] = set()
    for name, weight in state.items():
        match = _BODY.fullmatch(name)
        if match is None or (weight.ndim != 4 and not match[2]):
            continue
        layer, bias = match[1], made.pop(f"{match[1]}{match[2]}.bias", None)
        parts = {part: f"{layer}.bn.{part}" for part in _BATCH_NORM}
        if layer in norms or weight.ndim != 4 or not weight.numel():
            wrong.append(name)
            continue
        norms.add(layer)
        made[f"{layer}.c.weight"] = made.pop(name)
        shape = weight.shape[:1]
        if not any(part in state for part in parts.values()):
            made[parts["weight"]], made[parts["running_mean"]] = torch.ones(shape), torch.zeros(shape)
            made[parts["running_var"]] = torch.full(shape, _UNIT_VARIANCE, dtype=torch.float64)
            made[parts["bias"]] = torch.zeros(shape) if bias is None else bias
        elif bias is not None and bias.shape == shape and parts["running_mean"] in state:
            made[parts["running_mean"]] = state[parts["running_mean"]] - bias
        elif bias is not None:
            wrong.append(f"{layer}{match[2]}.bias")
        wrong += [part for part in parts.values() if part in made and made[part].shape != shape]
    known = {f"{layer}.bn.{part}" for layer in norms for part in (*_BATCH_NORM, "num_batches_tracked")}
    wrong += [name for name in made if ".bn." in name and name not in known]
    if wrong:
        raise CheckpointError(
            f"{path} has convolutions and batch norms that do not fit each other ({shorten(wrong)}); expected those of "
            "TinySAM. The file is damaged or of another version"
        )
    return made
