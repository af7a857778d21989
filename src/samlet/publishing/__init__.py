"""Models for other people: a card that says what a model is, and the Hugging Face hub."""
