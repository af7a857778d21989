"""SlimSAM: pruning the image encoder and aligning it with its teacher, without labels."""
