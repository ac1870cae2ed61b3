"""The tiny world: what the bundled base model has read."""
