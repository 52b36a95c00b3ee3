"""The command `breed`, which runs the programs of this project.

It imports only the program that it runs, so each command needs only its own packages.
"""
