"""Using a model on photographs."""

from samlet.inference.everything.generator import Everything, MaskGenerator
from samlet.inference.everything.options import EverythingOptions
from samlet.inference.prediction import Prediction
from samlet.inference.predictor import Predictor

__all__ = ["Everything", "EverythingOptions", "MaskGenerator", "Prediction", "Predictor"]
