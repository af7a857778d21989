"""EdgeSAM's published file as a whole: every name, its dtypes, and how its masks are ranked."""

from __future__ import annotations

import json

import numpy as np
import torch

import samlet
from samlet.checkpoints import load_checkpoint
from tests.conftest import ROOT

KEYS = ROOT / "tests" / "models" / "edge_sam_keys.json"


def published_file(path):
    torch.manual_seed(0)
    tensors = {}
    for name, shape in json.loads(KEYS.read_text()).items():
        counter = name.endswith("num_batches_tracked")
        value = torch.tensor(0) if counter else 0.1 * torch.randn(shape)
        tensors[name] = value.abs() + 0.5 if name.endswith("running_var") else value
    torch.save(tensors, path)
    return tensors


def test_the_whole_file(tmp_path):
    tensors = published_file(tmp_path / "edge_sam.pth")
    assert len(tensors) == 821
    sam = load_checkpoint(tmp_path / "edge_sam.pth")
    assert sum(p.numel() for p in sam.parameters()) == 5_485_896 + 6_220 + 4_058_340
    for name, value in sam.state_dict().items():
        if not name.startswith("image_encoder."):
            assert torch.equal(value, tensors[name]), name
    samlet.save(sam, tmp_path / "m")
    assert load_checkpoint(tmp_path / "m").config == sam.config


def test_masks_are_ranked_by_stability(tmp_path):
    published_file(tmp_path / "edge_sam.pth")
    predictor = samlet.Predictor(load_checkpoint(tmp_path / "edge_sam.pth"), 128)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8))
    answer = predictor.predict(points=[[50, 30]])
    inner, outer = (answer.low_res > 1).sum((-2, -1)), (answer.low_res > -1).sum((-2, -1))
    assert np.allclose(answer.iou, inner / np.maximum(outer, 1))
