"""TinySAM's post-training quantization: a search for the scales of weights and activations, without labels."""
