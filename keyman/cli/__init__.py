"""The commands: one file each, named after it. main.py finds them, terminal.py does the talking."""
