"""What is kept for how long, and what holds and erasures do to it."""
