"""From problems to rollouts: tokens in, tokens out."""
