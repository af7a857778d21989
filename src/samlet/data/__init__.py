"""Images, masks, prompts and the datasets that hold them."""
