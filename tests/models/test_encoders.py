"""An encoder, and a decoder, is one folder: what is found there, and that nothing else keeps a list of them."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

from samlet.models import Sam, maps_of
from samlet.models.config import SamConfig
from samlet.models.decoders import DECODERS
from samlet.models.encoders import ENCODERS, build_encoder, initialise
from tests.conftest import ROOT, make_efficient, make_hiera, make_repvit, make_tiny, make_vit

MAKERS = {"vit": make_vit, "tiny_vit": make_tiny, "repvit": make_repvit, "hiera": make_hiera}
SOURCE = ROOT / "src" / "samlet"
MAY_NAME = (
    "models/encoders/",
    "models/decoders/",
    "checkpoints/",
    "export/transformers_js.py",  # whose names happen to be those
    "zoo/registry.py",
    "models/__init__.py",
    "__init__.py",
)
"""What may name a kind: its folder, a reader of a published format, the zoo, and what is exported for users."""
DEFAULT_STUDENT = ("distillation/fresh.py", "cli/parsers/distill.py", "demo.py")
"""What names TinyViT, as the architecture that is taken if a user names none."""


def test_every_folder_is_a_kind():
    assert set(ENCODERS) == set(MAKERS)
    assert set(DECODERS) == {"sam", "sam2", "efficient_sam"}


def test_no_other_module_names_a_kind():
    words = [re.escape(kind.module.__name__) for kind in ENCODERS.values()]
    words += [re.escape(kind.config.__name__) for kind in ENCODERS.values()]
    words += [f'"{kind}"' for kind in (*ENCODERS, *DECODERS)]
    pattern = re.compile("|".join(words))
    found = set()
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith(MAY_NAME) and name not in DEFAULT_STUDENT and pattern.search(path.read_text()):
            found.add(name)
    assert found == set()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_kind_offers_what_the_rest_asks(kind):
    sam = MAKERS[kind]()
    encoder, config = sam.image_encoder, sam.config.encoder
    assert type(encoder) is ENCODERS[kind].module
    assert type(config) is ENCODERS[kind].config
    assert SamConfig.from_dict(sam.config.to_dict()) == sam.config
    image = torch.randn(2, 3, 128, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = maps_of(encoder(image))
        state = image
        for segment in encoder.segments():
            state = segment.run(state)
    assert [tuple(m.shape[1:]) for m in maps] == config.map_shapes(128, 96)
    assert all(torch.equal(a, b) for a, b in zip(maps_of(state), maps, strict=True))
    names = dict(encoder.named_modules())
    assert all(name in names for name in (*encoder.bottleneck_features(), *encoder.embedding_features()))


@pytest.mark.parametrize("kind", MAKERS)
def test_weights_from_scratch_keep_variance_and_meet_the_deviation(kind):
    encoder = build_encoder(MAKERS[kind]().config.encoder)
    initialise(encoder, seed=1, deviation=0.3)
    images = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = maps_of(encoder(images))
    for m in found:
        assert 0.1 < float(m.std()) < 0.9
        between = m.mean(dim=0).var() / m.var()
        assert float(between) < 0.95, "the embedding hardly depends on the image"
    again = build_encoder(MAKERS[kind]().config.encoder)
    initialise(again, seed=1, deviation=0.3)
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), again.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("make", [make_vit, make_efficient, make_hiera])
def test_decoders_and_encoders_must_fit(make):
    config = make().config
    for style in DECODERS:
        decoder = dataclasses.replace(config.decoder, style=style, object_score=style == "sam2")
        fits = DECODERS[style].fine_channels(config.encoder.out_channels) == config.encoder.fine_channels
        if fits:
            assert isinstance(Sam(dataclasses.replace(config, decoder=decoder)), Sam)
        else:
            with pytest.raises(ValueError, match="fine maps"):
                dataclasses.replace(config, decoder=decoder)
