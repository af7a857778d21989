"""TinySAM: a small student learns from its teacher at every stage, with hard prompts and hard masks."""
