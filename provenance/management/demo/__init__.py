"""The demo workspace: what is in it, how it is filled, and the story that is played in it."""
