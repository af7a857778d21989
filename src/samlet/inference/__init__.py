"""Using a model on photographs."""

from samlet.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
