"""No secret anywhere but in the store and in the answer to whoever may have it.

scan.py      the shapes that a leaked secret can take, and the search for all of them
watch.py     command lines and environments of our processes, looked at all the time
life.py      everything that happens to a credential, good and bad, through real processes
hostile.py   clients that send what they should not
"""
