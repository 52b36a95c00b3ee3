"""Published versions: publishing, promoting, and the configuration of the model server."""
