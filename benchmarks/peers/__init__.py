"""Server programs; each is run by the path of its file."""
