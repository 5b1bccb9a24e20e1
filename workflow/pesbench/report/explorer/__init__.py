"""The explorer: a folder that opens from disk in a browser, without a server or the network."""
