"""The commands: one file each, named after it. main.py finds them, terminal.py does the talking."""

# Answered before any argument parser or package is imported: shells and tools call them all the
# time. Each of these modules has `main(words, config)` and its HELP.
AT_ONCE = ("get", "env", "run", "write")
