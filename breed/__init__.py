"""The command `breed`: one entry to the programs of this project.

It imports a program only to run it, so each command needs no more than its own packages.
"""
