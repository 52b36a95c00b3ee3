"""Find problems in a folder of photos before training: the command `check`."""
