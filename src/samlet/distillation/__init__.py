"""TinySAM: a small student learns from its teacher at every stage, with hard prompts and hard masks."""

from samlet.distillation.config import DistillConfig
from samlet.distillation.fresh import fresh_student
from samlet.distillation.pipeline import DistillRun, distill, run

__all__ = ["DistillConfig", "DistillRun", "distill", "fresh_student", "run"]
