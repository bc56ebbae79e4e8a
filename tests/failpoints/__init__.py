"""Kills at named failpoints, paused workers, restored homes and clocks that are set: the same
rotation, broken off everywhere, over keyman's own journal, sealed file, lock and page.
"""
