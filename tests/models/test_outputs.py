"""Which outputs of a decoder are read: never the first of EfficientSAM's, which was not trained."""

from __future__ import annotations

import pytest
import torch

from samlet.models import single_masks, trained_outputs
from tests.conftest import CHANNELS, make_efficient, make_tiny, with_another_first_output

POINTS = torch.tensor([[[20.0, 30.0]], [[44.0, 9.0]], [[5.0, 60.0]]])
EMBEDDING = torch.randn(1, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def answer(sam):
    return sam.decode(EMBEDDING, POINTS, torch.ones(3, 1, dtype=torch.long))


def test_the_first_output_is_read_where_it_was_trained():
    sam = make_tiny()
    out = answer(sam)
    assert trained_outputs(sam, out) is out
    logits, iou = single_masks(sam, out.low_res, out.iou)
    assert torch.equal(logits, out.low_res[:, 0])
    assert torch.equal(iou, out.iou[:, 0])


def test_the_best_predicted_of_the_others_stands_in_for_it():
    sam = make_efficient()
    out = answer(sam)
    left = trained_outputs(sam, out)
    assert torch.equal(left.low_res, out.low_res[:, 1:])
    assert torch.equal(left.iou, out.iou[:, 1:])
    assert torch.equal(left.tokens, out.tokens[:, [0, 2, 3, 4]])
    scores = torch.tensor([[0.9, 0.1, 0.2, 0.3], [0.9, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.2]])
    logits, iou = single_masks(sam, out.low_res, scores)
    assert torch.equal(logits, out.low_res[[0, 1, 2], [3, 1, 2]])
    assert iou.tolist() == pytest.approx([0.3, 0.3, 0.3])


def test_other_weights_of_the_first_output_change_it_alone():
    """The tests that use it would find nothing otherwise."""
    sam = make_efficient()
    one, other = answer(sam), answer(with_another_first_output(sam))
    assert not torch.equal(one.low_res[:, 0] > 0, other.low_res[:, 0] > 0)
    assert (other.iou[:, 0] - one.iou[:, 0]).min() > 1
    assert torch.allclose(one.low_res[:, 1:], other.low_res[:, 1:])
    assert torch.allclose(one.iou[:, 1:], other.iou[:, 1:])
    assert torch.equal(one.tokens, other.tokens)
