"""Exported models, run by other runtimes than torch: reading a folder of graphs, sessions, a model like any other."""

from samlet.runtimes.exported import ExportedSam
from samlet.runtimes.manifest import Manifest, is_exported, read_manifest

__all__ = ["ExportedSam", "Manifest", "is_exported", "read_manifest"]
