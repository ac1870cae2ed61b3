"""The learner: weights, optimizer and one step. It executes a loss specification and knows no algorithm by name."""
