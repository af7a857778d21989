"""Keyword arguments that editors show are the fields of the configs that take them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest

import samlet
from samlet.export.pipeline import export_model
from samlet.web import make_page

PLACES = [
    (samlet.slim, "slimming", "SlimKeywords", "SlimConfig", "config"),
    (samlet.distill, "distillation", "DistillKeywords", "DistillConfig", "config"),
    (samlet.quantize, "quantization", "QuantKeywords", "QuantConfig", "config"),
    (export_model, "export", "ExportKeywords", "ExportConfig", "config"),
    (make_page, "web", "WebKeywords", "WebConfig", "config"),
    (samlet.MaskGenerator.__init__, "inference.everything", "EverythingKeywords", "EverythingOptions", "options"),
]


@pytest.mark.parametrize(("function", "room", "keywords", "config", "module"), PLACES)
def test_they_are_the_fields(function, room, keywords, config, module):
    typed = getattr(importlib.import_module(f"samlet.{room}.keywords"), keywords)
    fields = {
        f.name: f.type for f in dataclasses.fields(getattr(importlib.import_module(f"samlet.{room}.{module}"), config))
    }
    signature = inspect.signature(function)
    assert signature.parameters[list(signature.parameters)[-1]].annotation == f"Unpack[{keywords}]"
    named = set(signature.parameters)
    found = {name: value.__forward_arg__ for name, value in typed.__annotations__.items()}
    assert found.keys() | (fields.keys() & named) == fields.keys()
    assert not found.keys() & named
    for name, kind in found.items():
        assert kind in (fields[name], f"{fields[name]} | str"), name
