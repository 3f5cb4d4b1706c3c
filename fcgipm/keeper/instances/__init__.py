"""Instances: how they start, when they are ready, how they go without loss."""
