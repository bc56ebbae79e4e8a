"""Small mistakes in the code that decides and guards, one at a time: does a test see each?"""
