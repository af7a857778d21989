"""Masks of whole folders, without prompts: labels on disk, continued where a run ended."""
