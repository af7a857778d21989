"""SlimSAM: pruning the image encoder and aligning it with its teacher, without labels."""

from samlet.runs.folder import RunFolder
from samlet.slimming.config import SlimConfig
from samlet.slimming.pipeline import SlimRun, run, slim

__all__ = ["RunFolder", "SlimConfig", "SlimRun", "run", "slim"]
