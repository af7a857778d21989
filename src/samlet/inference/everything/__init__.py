"""Everything mode: masks of a whole image, without prompts."""
