"""`keyman init`: from nothing to a configuration, in a few answers.

surroundings   what lies around that keyman could sign in with
answers        keys and values that somebody gave, and which of them may stand in a file
question       one question, with the answer that Enter takes
questions      which ones are still to be asked, and in questions_of_oci those of OCI
writing        the commented text of a configuration
placing        where it belongs; putting it there, whole, and never over another one

Secrets are pointed at (`!env`, `!file`) and never copied. Asks no provider anything.
"""
