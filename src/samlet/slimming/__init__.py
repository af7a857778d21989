"""SlimSAM: pruning the image encoder and aligning it with its teacher, without labels."""

from samlet.slimming.config import SlimConfig
from samlet.slimming.procedure import SlimRun, run, slim
from samlet.training.workspace import Workspace

__all__ = ["SlimConfig", "SlimRun", "Workspace", "run", "slim"]
