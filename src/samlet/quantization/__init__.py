"""TinySAM's post-training quantization: a search for the steps of weights and activations, without labels."""
