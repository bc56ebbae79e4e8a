"""Every reachable state of a small world, with the real rules in it."""
