"""TinySAM's post-training quantization: a search for the steps of weights and activations, without labels."""

from samlet.quantization.assembly import LayerReport
from samlet.quantization.config import METRICS, SCHEMES, QuantConfig
from samlet.quantization.pipeline import Quantized, quantize, run

__all__ = ["METRICS", "SCHEMES", "LayerReport", "QuantConfig", "Quantized", "quantize", "run"]
