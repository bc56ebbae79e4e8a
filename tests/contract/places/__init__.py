"""Where the contract suite's stores lie: one file a kind, with `options(request)`: what a store of
that kind is opened with, beside the installation and the home.
"""
