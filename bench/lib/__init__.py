"""What scenarios share: private servers and instances, clients, load generators, statistics and results."""
