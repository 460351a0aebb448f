"""The rooms of the sealer: what a pass takes, how logs grow, whose turn it is, how checkpoints get out."""
