"""The ``hub`` tasks: datasets of the Hugging Face hub, by name."""
