"""The real core and the real rotator in a made-up world that goes wrong in every way it can."""
